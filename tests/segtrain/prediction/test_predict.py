"""What is found in folders, videos and data sets, written as images and as a submission."""

import re
import shutil
from pathlib import Path
from zipfile import ZipFile

import av
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from helpers.videos import decoded, write_video

from jobs.training.runtime import Runtime
from propagate.data.classes import ClassTable, load_classes
from propagate.data.colours import colours_of_train_ids, difference, overlay
from propagate.data.images import encode_png
from sdcnet.frames.video import VideoSequence
from segtrain.cli.main import main
from segtrain.cli.predict import predict as predict_command
from segtrain.errors import DataError, InferenceError
from segtrain.inference import Inference
from segtrain.prediction.predict import predict
from segtrain.prediction.sources import Picture, pictures_of_files
from segtrain.trained import TrainedNetwork

CPU = Runtime(device=torch.device("cpu"))
CLASSES = ClassTable.from_json(
    {
        "name": "primary",
        "ignore_id": 0,
        "classes": [
            {"id": 0, "name": "void", "train_id": 255, "color": [0, 0, 0]},
            {"id": 10, "name": "red", "train_id": 0, "color": [200, 0, 0]},
            {"id": 20, "name": "green", "train_id": 1, "color": [0, 200, 0]},
            {"id": 30, "name": "blue", "train_id": 2, "color": [0, 0, 200]},
        ],
    }
)


class Brightest(torch.nn.Module):
    """The class of a pixel is its brightest colour."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


TRAINED = TrainedNetwork(network=Brightest(), classes=CLASSES)  # type: ignore[arg-type]


def image_of(train_ids: np.ndarray) -> np.ndarray:
    return colours_of_train_ids(train_ids, CLASSES)


def stripes(shift: int = 0) -> np.ndarray:
    """[12,18] uint8 train ids."""
    return np.tile((np.arange(18) // 6 + shift) % 3, (12, 1)).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels if pixels.ndim == 2 else pixels[..., ::-1]


def test_views_of_a_segmentation() -> None:
    image = np.full((1, 3, 3), 90, np.uint8)
    found, truth = np.uint8([[0, 1, 2]]), np.uint8([[0, 2, 255]])
    assert colours_of_train_ids(np.uint8([[0, 2, 255]]), CLASSES).tolist() == [[[200, 0, 0], [0, 0, 200], [0, 0, 0]]]
    assert overlay(image, image_of(found))[0].tolist() == [[145, 45, 45], [45, 145, 45], [45, 45, 145]]
    assert difference(image, found, truth, CLASSES)[0].tolist() == [[45, 45, 45], [0, 200, 0], [45, 45, 45]]


def test_a_folder_becomes_a_folder_of_each_kind(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    (source / "a.png").write_bytes(encode_png(image_of(stripes())))
    (source / "sub" / "b.png").write_bytes(encode_png(image_of(stripes(1))))
    (source / ".hidden.png").write_bytes(b"")
    (source / "notes.txt").write_text("no image")
    advances: list[int] = []
    pictures = pictures_of_files([source])
    summary = predict(
        TRAINED,
        pictures,
        out,
        Inference(window=(8, 8)),
        CPU,
        kinds=("pred", "rgb", "compose"),
        on_progress=advances.append,
    )
    assert (summary.images, summary.files, summary.failures, advances) == (2, 6, (), [1, 1])
    assert read(out / "pred/a.png").tolist() == ((stripes() + 1) * 10).tolist()
    np.testing.assert_array_equal(read(out / "rgb/sub/b.png"), image_of(stripes(1)))
    np.testing.assert_array_equal(read(out / "compose/a.png"), image_of(stripes()))
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_an_image_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / f"{name}.png").write_bytes(encode_png(image_of(stripes())))
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff nothing")
    summary = predict(TRAINED, pictures_of_files([tmp_path]), tmp_path / "out", Inference(), CPU)
    assert (summary.images, summary.files) == (2, 2)
    assert [failure.image for failure in summary.failures] == [str(tmp_path / "b.jpg")]
    assert str(tmp_path / "b.jpg") in summary.failures[0].reason
    assert (tmp_path / "out/pred/c.png").exists()


def test_a_video_is_written_by_the_numbers_of_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "drive.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 18, 12, "bgr0"
        for shift in range(4):
            frame = av.VideoFrame.from_ndarray(image_of(stripes(shift)), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    summary = predict(TRAINED, pictures_of_files([path]), tmp_path / "out", Inference(), CPU, kinds=("rgb",))
    assert summary.files == 4
    for shift in range(4):
        found = read(tmp_path / f"out/rgb/drive/{shift:06d}.png")
        np.testing.assert_array_equal(found, image_of(stripes(shift)))


def test_sources_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist, expected a folder of images, an image or a video"):
        pictures_of_files([tmp_path / "nothing"])
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"1 files, none of them an image or a video \(.png"):
        pictures_of_files([tmp_path])
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match="both would be written as a; segment them into different folders"):
        pictures_of_files([tmp_path])
    with pytest.raises(DataError, match="no images to segment"):
        predict(TRAINED, [], tmp_path, Inference(), CPU)
    with pytest.raises(ValueError, match="kinds must be of pred, rgb, compose, diff, found depth"):
        predict(TRAINED, pictures_of_files([tmp_path / "a.png"]), tmp_path, Inference(), CPU, kinds=("depth",))


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(image_of(stripes())))
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InferenceError, match=r"out/pred/a.png: cannot be written \(.*choose another --out"):
        predict(TRAINED, pictures_of_files([tmp_path / "a.png"]), tmp_path / "out", Inference(), CPU)


def test_results_of_another_prediction_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(image_of(stripes())))
    pictures, out = pictures_of_files([tmp_path / "a.png"]), tmp_path / "out"
    predict(TRAINED, pictures, out, Inference(), CPU)
    before = (out / "pred/a.png").stat().st_mtime_ns
    with pytest.raises(InferenceError, match=r"out/pred: already holds files; remove it, or give another --out"):
        predict(TRAINED, pictures, out, Inference(), CPU, kinds=("rgb", "pred"))
    assert (out / "pred/a.png").stat().st_mtime_ns == before
    assert not (out / "rgb").exists()
    assert predict(TRAINED, pictures, out, Inference(), CPU, kinds=("rgb",)).files == 1


def city(*names: str) -> list[Picture]:
    return [Picture(name, name, lambda: (image_of(stripes()), None)) for name in names]


AS_CITYSCAPES = TrainedNetwork(network=Brightest(), classes=load_classes("cityscapes"))  # type: ignore[arg-type]


def test_a_submission_is_a_flat_zip_of_label_ids(tmp_path: Path) -> None:
    path = tmp_path / "new" / "submission.zip"
    names = ("berlin/berlin_000000_000019_leftImg8bit", "bonn/bonn_000001_000019_leftImg8bit")
    predict(AS_CITYSCAPES, city(*names), tmp_path / "out", Inference(), CPU, submission=path)
    with ZipFile(path) as archive:
        assert archive.namelist() == [f"{Path(name).name}.png" for name in names]
        label_ids = cv2.imdecode(np.frombuffer(archive.read(archive.namelist()[0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert label_ids.tolist() == np.take([7, 8, 11], stripes()).tolist()
    assert [entry.name for entry in path.parent.iterdir()] == ["submission.zip"]
    with pytest.raises(InferenceError, match=r"submission\.zip: is there already; remove it, or give --submission"):
        predict(AS_CITYSCAPES, city(*names), tmp_path / "other", Inference(), CPU, submission=path)


def test_what_cannot_be_submitted(tmp_path: Path) -> None:
    path = tmp_path / "submission.zip"

    def submit(trained: TrainedNetwork, pictures: list[Picture]) -> None:
        predict(trained, pictures, tmp_path, Inference(), CPU, submission=path)

    with pytest.raises(DataError, match="label ids of class table 'cityscapes', found 'primary'"):
        submit(TRAINED, city("berlin_000000_000019"))
    with pytest.raises(DataError, match="frame7: not the name of a Cityscapes image, such as berlin_000000_000019"):
        submit(AS_CITYSCAPES, city("berlin_000000_000019", "frame7"))
    with pytest.raises(DataError, match="several images have the same name"):
        submit(AS_CITYSCAPES, city("a/berlin_000000_000019", "b/berlin_000000_000019"))
    with pytest.raises(ZeroDivisionError):
        submit(AS_CITYSCAPES, [Picture("berlin_000000_000019", "", lambda: 1 / 0)])  # type: ignore[arg-type,return-value]
    assert not list(tmp_path.iterdir())


def run(*args: object) -> Result:
    return CliRunner().invoke(predict_command, [str(arg) for arg in args], catch_exceptions=False)


def test_the_command_segments_a_data_set(weights: Path, tmp_path: Path) -> None:
    root, out, archive = tmp_path / "root", tmp_path / "out", tmp_path / "s.zip"
    for number in range(3):
        for name, pixels in (("leftImg8bit", image_of(stripes(number))), ("gtFine_labelIds", stripes() + 7)):
            path = root / name.partition("_")[0] / "val" / "bonn" / f"bonn_{number:06d}_000019_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))
    options = ("--kinds", "pred,diff", "--submission", archive, "--device", "cpu")
    result = run(weights, "--root", root, "--split", "val", "--out", out, *options)
    assert result.exit_code == 0, result.stderr
    assert "3 images segmented, 6 files written" in result.stdout
    names = [f"bonn_{number:06d}_000019.png" for number in range(3)]
    assert [path.name for path in sorted((out / "pred").iterdir())] == names == ZipFile(archive).namelist()
    found, shown = read(out / "pred" / names[1]), read(out / "diff" / names[1])
    classes = load_classes("cityscapes")
    grey = np.repeat((image_of(stripes(1)).mean(axis=2, keepdims=True) / 2).astype(np.uint8), 3, axis=2)
    is_right = (found == stripes() + 7) | (stripes() + 7 == 9)  # 9, parking, is not trained
    np.testing.assert_array_equal(shown, np.where(is_right[..., None], grey, classes.palette[found]))


@pytest.mark.parametrize(
    ("name", "pixels", "advice"),
    [
        ("a.png", np.zeros((8, 8, 4), np.uint8), "8-bit RGBA PNG frame, expected 8-bit RGB; remove the alpha channel"),
        ("a.png", np.zeros((8, 8, 3), np.uint16), "16-bit RGB PNG frame, expected 8-bit RGB; scale its values to 8"),
        ("a.tif", np.zeros((8, 8, 3), np.uint8), "a.tif: an image of a kind that is not read, .*; convert it to PNG"),
    ],
)
def test_an_image_of_another_form_is_refused_with_the_way_on(
    weights: Path, tmp_path: Path, name: str, pixels: np.ndarray, advice: str
) -> None:
    cv2.imwrite(str(tmp_path / name), pixels)
    arguments = ("predict", weights, tmp_path / name, "--out", tmp_path / "out", "--device", "cpu")
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1
    assert re.search(advice, result.stderr)


def test_the_command_exits_with_1_where_an_image_is_damaged(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(image_of(stripes())))
    (tmp_path / "b.png").write_bytes(b"")
    result = run(weights, tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    assert f"left out: {tmp_path / 'b.png'}: empty file" in result.stderr


def test_images_that_are_left_out_are_summed_up_in_one_line(weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.png").write_bytes(b"")
    result = run(weights, source, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 1
    (said,) = (line for line in result.stderr.splitlines() if line.startswith("left out"))
    named = ", ".join(str(source / f"{number}.png") for number in range(4))
    assert said.startswith(f"left out: 6 images ({named} and 2 more); the first: {source / '0.png'}: empty file")


def test_the_command_line_makes_sense_or_says_why_not(weights: Path, tmp_path: Path) -> None:
    assert "give either SOURCE or --root" in run(weights, tmp_path, "--root", tmp_path, "--out", tmp_path).stderr
    assert "diff needs the truth" in run(weights, tmp_path, "--out", tmp_path, "--kinds", "pred,diff").stderr
    assert "'blue' is none of pred, rgb" in run(weights, tmp_path, "--out", tmp_path, "--kinds", "blue").stderr


@pytest.mark.parametrize("beside", [False, True])
def test_a_video_comes_out_as_a_video(weights: Path, tmp_path: Path, beside: bool) -> None:
    source, out, video = tmp_path / "drive.mp4", tmp_path / "out", tmp_path / "seen.mp4"
    write_video(source, "libx264", {}, 5)
    arguments = (weights, source, "--out", out, "--kinds", "compose", "--device", "cpu")
    result = run(*arguments, "--video", video, *(["--beside"] if beside else []))
    assert result.exit_code == 0, result.stderr
    assert f"{video}: a video of 5 frames" in result.stdout
    frames = decoded(video)
    assert frames.shape == (5, 48, 128 if beside else 64, 3)
    assert VideoSequence(video).rate == 25
    for number, frame in enumerate(frames):
        expected = read(out / "compose" / "drive" / f"{number:06d}.png")
        assert np.abs(frame[:, -64:].astype(int) - expected).mean() < 12  # lossy, and colours at half the size
    shutil.rmtree(out)
    with pytest.raises(InferenceError, match=r"seen\.mp4: is there already; remove it"):
        run(*arguments, "--video", video)


def test_a_video_is_made_of_one_alone(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(image_of(stripes())))
    options = ("--out", tmp_path / "out", "--device", "cpu")
    assert "it is made of one SOURCE" in run(weights, "a.mp4", "b.mp4", *options, "--video", "seen.mp4").stderr
    assert "--beside is of --video" in run(weights, "a.mp4", *options, "--beside").stderr
    with pytest.raises(DataError, match=r"a\.png: is no video, and of such a --video is made"):
        run(weights, tmp_path / "a.png", *options, "--video", tmp_path / "seen.mp4")
