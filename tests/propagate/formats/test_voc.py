"""PASCAL VOC's segmentations by class: in VOC's own palette, and with a labelmap.txt as CVAT writes it."""

from pathlib import Path

import numpy as np
import pytest
from helpers.annotations import grid, labels_of, write_frames
from PIL import Image

from propagate.data.classes import load_classes
from propagate.data.images import encode_png
from propagate.errors import DatasetError, InputError
from propagate.formats.class_tables import voc_color
from propagate.formats.importing import import_annotations

DRAWN = """
    bbbbbwcc
    bbbbbwcc
    bbbbbwcc
    wwwwwwcc
    pppwbwcc
    pppwbwcc
"""
PALETTE = [value for number in range(256) for value in voc_color(number)]
LABEL_MAP = """# label:color_rgb:parts:actions
background:0,0,0::
car:10,20,30::
person:0,128,255:head,hand,foot:sitting,standing
"""


def write_voc(root: Path, label: Image.Image, label_map: str | None = None) -> Path:
    write_frames(root, ["JPEGImages/2007_000032.jpg", "JPEGImages/2007_000033.jpg"])
    write_frames(root, ["SegmentationObject/2007_000032.png"])
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/default.txt").write_text("2007_000032\n")
    (root / "SegmentationClass").mkdir()
    label.save(root / "SegmentationClass/2007_000032.png", "PNG")
    if label_map is not None:
        (root / "labelmap.txt").write_text(label_map)
    return root


def palette_image(label: np.ndarray) -> Image.Image:
    image = Image.fromarray(label)
    image.putpalette(PALETTE)
    return image


def test_the_palette_of_voc() -> None:
    """As the development kit lists it."""
    assert [voc_color(n) for n in (0, 1, 2, 7, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 128),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]


def test_the_documented_form(tmp_path: Path) -> None:
    label = grid(DRAWN, b=0, c=7, p=15, w=255)
    root = write_voc(tmp_path / "VOCdevkit" / "VOC2012", palette_image(label)).parent
    done = import_annotations(root, tmp_path / "mine", "voc")
    assert (done.frames, done.labelled, done.sequences, done.classes) == (2, 1, 1, 21)
    assert np.array_equal(labels_of(tmp_path / "mine")["VOC2012_2007/000032"], label)
    classes = load_classes(tmp_path / "mine/classes.yaml").classes
    assert [classes[n].name for n in (0, 7, 15, 20, 21)] == ["background", "car", "person", "tvmonitor", "unlabelled"]


@pytest.mark.parametrize("form", ["RGB", "palette", "grey"])
def test_a_label_map_names_colours_and_their_order_names_numbers(tmp_path: Path, form: str) -> None:
    expected = grid(DRAWN, b=0, c=1, p=2, w=255)
    colors = np.zeros((256, 3), np.uint8)
    colors[[1, 2, 255]] = (10, 20, 30), (0, 128, 255), (255, 255, 255)
    image = Image.fromarray(expected if form == "grey" else colors[expected])
    if form == "palette":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
        assert not np.array_equal(np.array(image), expected)  # indices say nothing then
    import_annotations(write_voc(tmp_path / "voc", image, LABEL_MAP), tmp_path / "mine", "voc")
    assert np.array_equal(labels_of(tmp_path / "mine")["2007/000032"], expected)


def test_white_may_be_a_class_and_transparent_is_nobodys(tmp_path: Path) -> None:
    colors = np.zeros((6, 8, 4), np.uint8)
    colors[:2] = (255, 255, 255, 255)
    colors[2:4] = (1, 2, 3, 255)
    root = write_voc(tmp_path / "voc", Image.fromarray(colors), "sky:255,255,255::\nroad:1,2,3::\n")
    import_annotations(root, tmp_path / "mine", "voc")
    assert labels_of(tmp_path / "mine")["2007/000032"][:, 0].tolist() == [0, 0, 1, 1, 255, 255]


@pytest.mark.parametrize(
    ("label_map", "sentence"),
    [
        ("road\n", "labelmap.txt: line 1 is 'road', expected name:red,green,blue::"),
        ("road:1,2::\n", "labelmap.txt: line 1 is 'road:1,2::', expected name:red,green,blue::"),
        ("# x\nroad:1,2,256::\n", "labelmap.txt: line 2 is 'road:1,2,256::', expected name:red,green,blue::"),
        ("road:1,2,3::\nroad:1,2,4::\n", "labelmap.txt: declares the class 'road' twice"),
        ("", "labelmap.txt: 0 classes, expected 1 to 254"),
        (
            "".join(f"c{n}:{n % 256},{n // 256},0::\n" for n in range(300)),
            "labelmap.txt: 300 classes, expected 1 to 254",
        ),
        ("road:1,2,3::\nsky:1,2,3::\n", "labelmap.txt: line 2: sky has the colour of road"),
        ("road:1,2,3::\n", "holds colours that class table 'voc' does not have: (0, 0, 0) (1"),
        ("\xff", "labelmap.txt: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, label_map: str, sentence: str) -> None:
    root = write_voc(tmp_path / "voc", palette_image(grid(DRAWN, b=0, c=7, p=15, w=255)))
    (root / "labelmap.txt").write_bytes(label_map.encode("latin-1"))
    with pytest.raises((DatasetError, InputError)) as caught:
        import_annotations(root, tmp_path / "mine", "voc")
    assert sentence in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["voc"]


def test_sources_that_are_none(tmp_path: Path) -> None:
    write_frames(tmp_path / "voc", ["JPEGImages/2007_000032.jpg"])
    with pytest.raises(DatasetError, match="0 folders SegmentationClass here, expected one"):
        import_annotations(tmp_path / "voc", tmp_path / "mine", "voc")
    for name in ("a", "b"):
        write_voc(tmp_path / "voc" / name, palette_image(np.zeros((6, 8), np.uint8)))
    with pytest.raises(DatasetError, match="2 folders SegmentationClass here, expected one"):
        import_annotations(tmp_path / "voc", tmp_path / "mine", "voc")
    (tmp_path / "voc/a/SegmentationClass/2007_000032.png").write_bytes(encode_png(np.zeros((5, 8), np.uint8)))
    with pytest.raises(InputError, match=r"2007_000032.png: 5x8 for a frame of 6x8; export both again"):
        import_annotations(tmp_path / "voc/a", tmp_path / "mine", "voc")
    (tmp_path / "voc/a/SegmentationClass/2007_000035.png").write_bytes(encode_png(np.zeros((6, 8), np.uint8)))
    with pytest.raises(
        DatasetError, match=r"1 of 2 annotated frames are not there as PNG or JPEG, such as '2007_000035'"
    ):
        import_annotations(tmp_path / "voc/a", tmp_path / "mine", "voc")
