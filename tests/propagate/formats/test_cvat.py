"""CVAT for images 1.1, as docs.cvat.ai documents it, in a folder and as the zip file that CVAT exports."""

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.annotations import frames_of, grid, labels_of, write_frames

from propagate.data.classes import load_classes
from propagate.errors import DatasetError, InputError
from propagate.formats.importing import import_annotations

DOCUMENTED = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>4</id>
      <name>segmentation</name>
      <size>3</size>
      <mode>annotation</mode>
      <overlap>0</overlap>
      <bugtracker></bugtracker>
      <created>2024-09-25 11:34:24.617558+03:00</created>
      <labels>
        <label>
          <name>car</name>
          <color>#0a14ff</color>
          <type>any</type>
          <attributes>
            <attribute>
              <name>parked</name>
              <mutable>False</mutable>
              <input_type>checkbox</input_type>
              <default_value>false</default_value>
              <values>false</values>
            </attribute>
          </attributes>
        </label>
        <label>
          <name>road</name>
          <color>#804080</color>
          <type>any</type>
          <attributes>
          </attributes>
        </label>
        <label>
          <name>wheel</name>
          <type>points</type>
          <parent>car</parent>
        </label>
      </labels>
      <segments>
        <segment><id>4</id><start>0</start><stop>2</stop><url>http://localhost:8080/?id=4</url></segment>
      </segments>
      <owner><username>admin</username><email></email></owner>
    </task>
    <dumped>2024-09-25 11:38:28.799808+03:00</dumped>
  </meta>
  <image id="0" name="drive/frame_000000.png" width="8" height="6">
  </image>
  <image id="1" name="drive/frame_000001.png" width="8" height="6">
    <mask label="road" occluded="0" rle="2, 2, 1, 3, 0, 4" left="3" top="2" width="4" height="3" z_order="2">
    </mask>
    <polygon label="car" source="manual" occluded="0" points="2.00,1.00;6.00,1.00;6.00,4.00;2.00,4.00" z_order="3">
      <attribute name="parked">false</attribute>
    </polygon>
    <polygon label="road" source="manual" occluded="1" points="0.00,0.00;8.00,0.00;8.00,2.00;0.00,2.00" z_order="1">
    </polygon>
    <polygon label="road" source="manual" occluded="1" points="2.00,1.00;3.00,1.00;3.00,2.00;2.00,2.00" z_order="3">
    </polygon>
    <box label="car" source="manual" occluded="0" xtl="1.00" ytl="1.00" xbr="4.50" ybr="5.00" z_order="9">
    </box>
    <polyline label="road" source="manual" occluded="0" points="1.00,0.00;1.00,6.00" z_order="9">
    </polyline>
    <points label="road" source="manual" occluded="0" points="5.00,5.00" z_order="9">
    </points>
    <tag label="road" source="manual">
    </tag>
  </image>
</annotations>
"""
EXPECTED = grid(
    """
    rrrrrrrr
    rrrcccrr
    ..ccccr.
    ..ccccr.
    ...rrrr.
    ........
    """,
    **{".": 255, "c": 0, "r": 1},
)
NAMES = [f"images/drive/frame_00000{n}.png" for n in (0, 1, 2)]


def write_cvat(root: Path, text: str = DOCUMENTED) -> Path:
    write_frames(root, NAMES)
    (root / "annotations.xml").write_text(text)
    return root


@pytest.mark.parametrize("form", ["folder", "zip", "file"])
def test_the_documented_form(tmp_path: Path, form: str) -> None:
    root = source = write_cvat(tmp_path / "task")
    if form == "file":
        source = root / "annotations.xml"
    elif form == "zip":
        source = tmp_path / "task_1[x].zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*.*")):
                archive.write(path, path.relative_to(root))
        (tmp_path / "annotations.xml").write_text("of something else")
    done = import_annotations(source, tmp_path / "mine", "cvat")
    assert (done.frames, done.labelled, done.sequences, done.classes) == (3, 1, 1, 2)
    assert done.passed_over == {
        "shapes of the kind box": 1,
        "shapes of the kind polyline": 1,
        "shapes of the kind points": 1,
    }
    assert frames_of(tmp_path / "mine") == [f"drive_frame/00000{n}.png" for n in (0, 1, 2)]
    assert list(labels_of(tmp_path / "mine")) == ["drive_frame/000001"]
    assert np.array_equal(labels_of(tmp_path / "mine")["drive_frame/000001"], EXPECTED)
    classes = load_classes(tmp_path / "mine/classes.yaml").classes
    assert [(c.name, c.color) for c in classes] == [
        ("car", (10, 20, 255)),
        ("road", (128, 64, 128)),
        ("unlabelled", (0, 0, 0)),
    ]


def test_equal_z_order_is_decided_by_the_order_in_the_file(tmp_path: Path) -> None:
    text = DOCUMENTED
    for z_order in range(4):
        text = text.replace(f'z_order="{z_order}"', "")
    import_annotations(write_cvat(tmp_path / "task", text), tmp_path / "mine", "cvat")
    (label,) = labels_of(tmp_path / "mine").values()
    assert label.tolist()[1] == [1, 1, 1, 1, 1, 1, 1, 1]
    assert label.tolist()[2] == [255, 255, 0, 0, 0, 0, 1, 255]


def test_images_of_a_projects_subsets(tmp_path: Path) -> None:
    text = DOCUMENTED.replace('name="drive/frame_000001.png"', 'name="frame_000001.png" subset="default"')
    root = tmp_path / "task"
    write_frames(root, ["images/default/frame_000001.png", "images/other/frame_000001.png"])
    (root / "annotations.xml").write_text(text)
    import_annotations(root, tmp_path / "mine", "cvat")
    assert frames_of(tmp_path / "mine") == ["default_frame/000001.png"]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><annotations>&l9;</annotations>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotations>&e;</annotations>'
MASK = 'rle="2, 2, 1, 3, 0, 4" left="3" top="2" width="4" height="3"'
POINTS = "2.00,1.00;6.00,1.00;6.00,4.00;2.00,4.00"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (DOCUMENTED, BOMB, "holds a document type or entities (DTDForbidden), which are refused"),
        (DOCUMENTED, OUTSIDE, "holds a document type or entities (DTDForbidden), which are refused"),
        (DOCUMENTED, "", "not whole XML (no element found"),
        ("</annotations>", "", "not whole XML (no element found"),
        ('encoding="utf-8"', 'encoding="utf-99"', "not whole XML (unknown encoding"),
        (DOCUMENTED, "<annotations>" + "<a>" * 1000 + "</a>" * 1000 + "</annotations>", "elements more than 32 deep"),
        (DOCUMENTED, "<annotation/>", "its root is <annotation>, expected <annotations>"),
        ("<polygon", '<track id="0"></track><polygon', "holds tracks: CVAT for video; export it again as 'CVAT for"),
        ('label="car" source="manual" occluded="0" points', "points", "frame_000001.png, polygon 1: label is missing"),
        ('width="8"', 'width="8.5"', "width is '8.5', expected a whole number"),
        ('width="8"', 'width="9"', "image drive/frame_000001.png is annotated as 6x9, and its frame is 6x8"),
        ('name="drive/frame_000001.png"', 'name="../../x_1.png"', "the image '../../x_1.png', which leads out of"),
        ('name="drive/frame_000001.png"', 'name="frame_000009.png"', "1 of 1 annotated frames are not there as PNG or"),
        ("frame_000001.png", "frame.png", "1 of 1 annotated frames are not there"),
        (MASK, MASK.replace("0, 4", "0, 3"), "mask 0: its runs cover 11 pixels, expected 12"),
        (MASK, MASK.replace("2, 2", "2, x"), "mask 0: rle is '2, x, 1, 3, 0, 4', expected whole numbers and commas"),
        (MASK, MASK.replace("2, 2", "2, " + "9" * 5000), "mask 0: rle is '2, 999"),
        (MASK, MASK.replace('left="3"', 'left="5"'), "mask 0: 3x4 at row 2, column 5, outside of an image of 6x8"),
        (MASK, MASK.replace('top="2"', 'top="-1"'), "mask 0: 3x4 at row -1, column 3, outside of an image of 6x8"),
        (MASK, 'rle="1000000000" left="0" top="0" width="100000" height="10000"', "mask 0: 10000x100000 at row 0, col"),
        (POINTS, POINTS + ";9.5,3", "polygon 1: a polygon with the point 9.5, 3, outside of an image of 6x8"),
        (POINTS, POINTS + ";inf,3", "polygon 1: a polygon with the point inf, 3, outside of an image of 6x8"),
        (POINTS, "1,1;2,2", "polygon 1: a polygon of 4 coordinates, expected 3 points or more"),
        (POINTS, "1,1;2,2,3", "polygon 1: points are '1,1;2,2,3', expected x,y;x,y;…"),
        (POINTS, "", "polygon 1: points are '', expected x,y;x,y;…"),
        ('z_order="3"', 'z_order="top"', "z_order is 'top', expected a whole number"),
        ("  </image>\n</annotations>", '  </image><image name="drive/frame_000001.png" width="8" height="6"><mask '
         f'label="car" {MASK}/></image></annotations>', "annotates images/drive/frame_000001.png twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in DOCUMENTED
    root = write_cvat(tmp_path / "task", DOCUMENTED.replace(old, new))
    begun = time.monotonic()
    with pytest.raises((DatasetError, InputError)) as caught:
        import_annotations(root, tmp_path / "mine", "cvat")
    assert time.monotonic() - begun < 5
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(root))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["task"]


def test_zip_files_that_are_none_or_lead_out(tmp_path: Path) -> None:
    source = tmp_path / "task.zip"
    with pytest.raises(DatasetError, match="no such file; name the zip file"):
        import_annotations(source, tmp_path / "mine", "cvat")
    source.write_bytes(b"PK\3\4 no")
    with pytest.raises(DatasetError, match="not a whole zip file"):
        import_annotations(source, tmp_path / "mine", "cvat")
    root = write_cvat(tmp_path / "task", DOCUMENTED.replace("drive/frame", "../../../frame"))
    with zipfile.ZipFile(source, "w") as archive:
        archive.write(root / "annotations.xml", "annotations.xml")
        archive.write(root / NAMES[1], "../../frame_000001.png")
    with pytest.raises(InputError, match=r"names the image '\.\./\.\./\.\./frame_000001.png', which leads out of"):
        import_annotations(source, tmp_path / "mine", "cvat")
    assert not (tmp_path / "mine").exists()
