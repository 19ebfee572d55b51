"""The README and the documents beside it do what they say: commands and programs run, links lead somewhere."""

import json
import re
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml
from helpers.documents import DOCUMENTS, REPOSITORY, Block, blocks, command_lines, follow
from PIL import Image

from propagate.carry.sample_settings import SampleSettings
from propagate.datasets.base import DatasetOptions
from propagate.job.run import RunConfig, run
from propagate.shards.schema import IMAGE_FORMS
from propagate.synth.write import write_dataset

pytestmark = pytest.mark.slow

NUM_NOT_RUN = {"README.md": 3}  # their reasons stand before them
LANGUAGES = {"sh", "python", "yaml", "text"}
OURS = [path for path in DOCUMENTS if path.parent in (REPOSITORY, REPOSITORY / "docs")]
COMMAND_BLOCKS = [block for path in DOCUMENTS for block in blocks(path) if block.language in ("", "sh")]


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for /data: a snippet as `cityscapes`, its truth, and the same again as folders of JPEG frames."""
    data = tmp_path_factory.mktemp("data")
    write_dataset(data / "cityscapes", num_snippets=1, size=(64, 128), around=5, seed=3)
    (data / "labels_of_neighbours").symlink_to(data / "cityscapes" / "truth")
    for kind in ("images", "labels"):
        (data / "mine" / kind / "train" / "drive").mkdir(parents=True)
    for path in sorted(data.glob("cityscapes/leftImg8bit_sequence/*/*/*.png")):
        number = path.name.split("_")[2]
        Image.open(path).save(data / f"mine/images/train/drive/{number}.jpg")
    for path in data.glob("cityscapes/gtFine/*/*/*_labelIds.png"):
        number = path.name.split("_")[2]
        (data / f"mine/labels/train/drive/{number}_mask.png").write_bytes(path.read_bytes())
    return data


@pytest.fixture(scope="module")
def followed_readme(own_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder, after all that the README says was done, in an empty folder."""
    follow(blocks(REPOSITORY / "README.md"), tmp_path_factory.mktemp("reader"), own_data)
    return own_data


def test_the_readme_ends_with_two_stores_and_a_tree(followed_readme: Path) -> None:
    for name in ("shards", "mine_shards"):
        (entry,) = json.loads((followed_readme / name / "manifest.json").read_text())["shards"].values()
        assert entry["samples"] == 11
    assert len(list(followed_readme.glob("tree/gtFine/train/*/*_labelTrainIds.png"))) == 11


@pytest.mark.parametrize("images", IMAGE_FORMS)
def test_a_store_is_read_as_its_format_says(own_data: Path, tmp_path: Path, images: str) -> None:
    run(
        RunConfig(
            options=DatasetOptions(root=own_data / "cityscapes"),
            out=tmp_path / "shards",
            frames=1,
            sample_settings=SampleSettings(images=images),
            engine="local",
        )
    )
    document = list(blocks(REPOSITORY / "docs" / "store-format.md"))
    assert [block.language for block in document].count("python") == 2
    follow(document, tmp_path, tmp_path)


def test_things_of_ones_own_work_as_is_said(tmp_path: Path) -> None:
    document = list(blocks(REPOSITORY / "docs" / "extending.md"))
    assert not any(block.not_run for block in document)
    follow(document, tmp_path, tmp_path)


def test_the_motion_of_codecs_is_read_as_is_said(tmp_path: Path) -> None:
    follow(blocks(REPOSITORY / "docs" / "propagation.md"), tmp_path, tmp_path)


def test_annotations_go_out_and_come_back(tmp_path: Path) -> None:
    follow(blocks(REPOSITORY / "docs" / "formats.md"), tmp_path, tmp_path)
    assert len(list((tmp_path / "drives" / "labels").glob("*/*.png"))) == 5
    assert (tmp_path / "more_shards" / "manifest.json").exists()


def test_the_readme_is_no_longer_than_anybody_reads() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_no_more_of_the_readme_goes_unproved_than_is_said_here() -> None:
    found = [block for block in blocks(REPOSITORY / "README.md") if block.not_run]
    assert len(found) == NUM_NOT_RUN["README.md"], [str(block) for block in found]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_block_says_what_it_is(path: Path) -> None:
    for block in blocks(path):
        assert block.language in LANGUAGES, str(block)
        if block.language == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("block", COMMAND_BLOCKS, ids=str)
def test_every_command_that_is_shown_has_these_options(block: Block) -> None:
    for program, *words in command_lines(block):
        command, name = import_module(f"{program}.cli.main").main, program
        while isinstance(command, click.Group):
            name = f"{name} {words[0]}"
            assert words[0] in command.commands, f"{block}: {name}"
            command = command.commands[words.pop(0)]
        command.make_context(name, words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_to_what_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        if name.startswith(("http:", "https:")):
            continue
        there = path if not name else path.parent / name
        assert there.exists(), f"{path}: {target}"
        if heading:
            assert heading in headings(there), f"{path}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_files_and_what_they_define_are_where_documents_say(path: Path) -> None:
    """`propagate/job/plan.py`, and after a file `name` or `name, name` in brackets, what it defines."""
    text = path.read_text(encoding="utf-8")
    for name, defined in re.findall(
        r"`((?:jobs|sdcnet|propagate|segtrain)/[\w/.]+)`(?: \(((?:`\w+`(?:, )?)+)\))?", text
    ):
        assert (REPOSITORY / name).exists(), f"{path}: {name}"
        for each in re.findall(r"\w+", defined):
            pattern = rf"^ *(?:def|class) {each}\b|^{each}\b.*="
            source = (REPOSITORY / name).read_text(encoding="utf-8")
            assert re.search(pattern, source, re.MULTILINE), f"{path}: {name} has no {each}"


def headings(path: Path) -> set[str]:
    """The anchors that readers of Markdown make of a file's headings."""
    lines = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_citation_names_the_software_and_the_papers() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["authors"] == [{"name": "The label-propagation authors"}]
    cited = {(paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]}
    assert cited == {("Zhu", 2019), ("Reda", 2018), ("Ilg", 2017)}
