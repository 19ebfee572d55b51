"""Files that are found by the keys of frames."""

from pathlib import Path

from propagate.data.keyed_files import KeyedFiles


def test_a_link_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    """Another size is other content, also where all files are links, as of content-addressed storage."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.png").symlink_to(tmp_path / "content")
    (tmp_path / "files/gone.png").symlink_to(tmp_path / "nowhere")
    files = KeyedFiles(tmp_path / "files", (".png",), "")
    for size in (5000, 9000):
        (tmp_path / "content").write_bytes(bytes(size))
        [path] = files.paths_of("a.png")
        assert files.resource(path).size == size
    assert files.resource(tmp_path / "files/gone.png").size == 0
