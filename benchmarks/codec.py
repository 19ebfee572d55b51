"""Motion from the codec against DIS: milliseconds, how well frames are predicted, and the labels that come of it.

python benchmarks/codec.py [--data ../shared/data] [--frames 26] [--snippets 4]

Milliseconds are of one core's time, by the processor's clock. What `--data` lacks is left out.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from PIL import Image

from jobs.timing import Stopwatch
from propagate.carry.opened import OpenClip, OpenCodedFrame, OpenFrame
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import ClassTable, load_classes
from propagate.data.clip import Clip, Label, Resource
from propagate.data.images import decode_frame
from propagate.data.memory_frame import MemoryFrame
from propagate.scoring.metrics import confusion, mean_iou
from propagate.synth.write import write_dataset
from sdcnet.frames import open_sequences
from sdcnet.frames.exported import VectorSource
from sdcnet.frames.stream import FrameStream, StreamedFrame
from sdcnet.frames.transcoding import Transcoder
from sdcnet.motion.classical import Dis, NoMotion, dis_flow
from sdcnet.motion.codec import CodecMotion
from sdcnet.motion.vectors import CELL, CellFlow

NUM_NEIGHBOURS = 5
Measured = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=26, help="of each video")
    parser.add_argument("--snippets", type=int, default=4, help="of the synthetic street")
    parser.add_argument("--size", default="256x512", help="of the synthetic street")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for path in sorted((options.data / "driving_video").glob("*.mp4")):
        measured = decoding(path, options.frames)
        print_motion(path.name, list(islice(FrameStream(path, with_vectors=True), options.frames)), measured)
    for sequence in open_sequences(path for path in [options.data / "driving_video" / "aachen"] if path.is_dir()):
        pixels = sequence.frames(0, min(options.frames, len(sequence))).permute(0, 2, 3, 1).numpy()
        print_motion(sequence.name, [without_vectors(number, frame) for number, frame in enumerate(pixels)], {})
    size = tuple(map(int, options.size.split("x")))
    print_labels(f"synthetic street, {options.size}, H.264", *street(options.snippets, size))
    if (options.data / "camvid_15hz").is_dir():
        print_labels("CamVid 0016E5", *camvid(options.data / "camvid_15hz"))


def timed(measured: Measured, name: str, work: Callable[..., Any], *args: Any) -> Any:
    begin = time.process_time()
    result = work(*args)
    measured[name].append((time.process_time() - begin) * 1e3)
    return result


def without_vectors(number: int, pixels: np.ndarray) -> StreamedFrame:
    return StreamedFrame(number, None, np.ascontiguousarray(pixels), False, None, "a picture")


def decoding(path: Path, num_frames: int) -> Measured:
    """Milliseconds a frame: decoded, decoded with vectors, and with these as flow; not converted to RGB. Best of three
    times."""
    found: Measured = defaultdict(list)
    for name in ("decode", "decode and export", "decode, export and flow") * 3:
        begin = time.process_time()
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            source = None if name == "decode" else VectorSource(stream.codec_context)
            for frame in islice(container.decode(stream), num_frames):
                exported = frame.side_data.get("MOTION_VECTORS") if source else None
                if exported is not None and name.endswith("flow"):
                    CellFlow.of(exported.to_ndarray(), (frame.height, frame.width))
        found[f"ms {name}"].append((time.process_time() - begin) * 1e3 / num_frames)
    return {name: [min(times)] for name, times in found.items()}


def print_motion(name: str, frames: Sequence[StreamedFrame], decoded: Measured) -> None:
    """What motion costs on a video, and the PSNR of frames predicted by it, from the one before and from the next."""
    measured: Measured = defaultdict(list, decoded)
    forward, backward = (
        vectors_of(order, measured) for order in ([f.pixels for f in frames], [f.pixels for f in reversed(frames)])
    )
    ultrafast = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    for number, (before, frame) in enumerate(pairwise(frames), start=1):
        grey, other = (cv2.cvtColor(each.pixels, cv2.COLOR_RGB2GRAY) for each in (frame, before))
        measured["dB none"].append(psnr(grey, other))
        flows = {
            "DIS ultrafast": timed(measured, "ms DIS ultrafast", ultrafast.calc, grey, other, None),
            "encoder": pixels_of(cells_of(forward[number], frame)),
        }
        backwards = {"encoder": pixels_of(cells_of(backward[len(frames) - number], frame))}
        if number % 4 == 1:
            flows["DIS"] = timed(measured, "ms DIS", dis_flow, grey, other)
            backwards["DIS"] = dis_flow(other, grey)
        if frame.vectors is not None:
            cells = timed(measured, "ms vectors to flow", cells_of, frame.vectors, frame)
            measured["share unknown"].append(1 - cells.share_known)
            flows["video"] = timed(measured, "ms filled, of all pixels", pixels_of, cells)
            backwards["video, inverted"] = pixels_of(inverted(cells))
        for motion, flow in flows.items():
            measured[f"dB {motion}"].append(psnr(grey, carried(other, flow)))
        for motion, flow in backwards.items():
            measured[f"dB backwards, {motion}"].append(psnr(other, carried(grey, flow)))
    height, width = frames[0].size
    print(f"\n{name}, {height}x{width}, {len(frames)} frames")
    for quantity, values in sorted(measured.items()):
        print(f"  {quantity:<34} {np.mean(values):8.2f}")


def vectors_of(frames: Sequence[np.ndarray], measured: Measured) -> list[np.ndarray | None]:
    transcoder = Transcoder(frames[0].shape[:2])
    return [timed(measured, "ms encode and decode", transcoder.vectors_of, frame)[0] for frame in frames]


def cells_of(records: np.ndarray | None, frame: StreamedFrame) -> CellFlow:
    assert records is not None
    return CellFlow.of(records, frame.size)


def pixels_of(cells: CellFlow) -> np.ndarray:
    """[H,W,2]."""
    return cells.dense()[0].permute(1, 2, 0).numpy()


def inverted(cells: CellFlow) -> CellFlow:
    """The flow from the frame before to this one: each cell is moved to where it leads, and turned round; where several
    come to lie, that counts which covers most."""
    _, height, width = cells.flow.shape
    rows, columns = np.nonzero(cells.known.numpy())
    motion = cells.flow.numpy()[:, rows, columns]
    x, y = columns + motion[0] / CELL, rows + motion[1] / CELL
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    covered, inverse = np.zeros((height, width), np.float32), np.zeros_like(cells.flow.numpy())
    for is_writing in (False, True):
        for below, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row, column = top + below, left + right
            share = (np.abs(1 - below - (y - top)) * np.abs(1 - right - (x - left))).astype(np.float32)
            there = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (share > 0)
            row, column, share = row[there], column[there], share[there]
            if is_writing:
                most = share == covered[row, column]
                inverse[:, row[most], column[most]] = -motion[:, there][:, most]
            else:
                np.maximum.at(covered, (row, column), share)
    return CellFlow(torch.from_numpy(inverse), torch.from_numpy(covered > 0), cells.size)


def carried(source: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = source.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    at = x + flow[..., 0], y + flow[..., 1]
    return cv2.remap(source.astype(np.float32), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(one.astype(np.float64) - other))))


Snippet = tuple[list[StreamedFrame], list[np.ndarray], list[int]]  # frames, label ids of each, the annotated ones


def street(num_snippets: int, size: Any) -> tuple[ClassTable, Iterable[Snippet]]:
    """Synthetic streets, as a camera would write them: H.264 with one reference, without B-frames."""

    def snippets() -> Iterable[Snippet]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "street"
            write_dataset(root, num_snippets=num_snippets, size=size, length=30, seed=0)
            for snippet in range(num_snippets):
                files = sorted(root.glob(f"leftImg8bit_sequence/*/*/*_{snippet:06d}_*_leftImg8bit.png"))
                path = Path(folder) / "drive.mp4"
                write(path, [decode_frame(file.read_bytes(), str(file)) for file in files])
                names = [file.name.removesuffix("_leftImg8bit.png") for file in files]
                truth = [next(root.glob(f"truth/*/*/{name}_gtFine_labelIds.png")) for name in names]
                labels = [np.array(Image.open(file)) for file in truth]
                yield list(FrameStream(path, with_vectors=True)), labels, [19]

    return load_classes("cityscapes"), snippets()


def write(path: Path, frames: Sequence[np.ndarray]) -> None:
    options = {"refs": "1", "bf": "0", "crf": "20", "g": "12"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(17), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def camvid(root: Path) -> tuple[ClassTable, Iterable[Snippet]]:
    """Frames as PNG files, which hold no vectors."""
    files = sorted((root / "clip").iterdir())
    frames = [decode_frame(file.read_bytes(), str(file)) for file in files]
    labels = [np.array(Image.open(root / "truth" / file.name)) for file in files]
    annotated = [number for number, file in enumerate(files) if (root / "clipannot" / file.name).exists()]
    seen = [without_vectors(number, pixels) for number, pixels in enumerate(frames)]
    return load_classes("camvid"), [(seen, labels, annotated)]


def print_labels(title: str, classes: ClassTable, snippets: Iterable[Snippet]) -> None:
    """mIoU of the labels of all neighbours, and seconds of one core for each, refined and not."""
    motions: dict[str, Callable[[], Any]] = {
        "none": NoMotion,
        "dis": Dis,
        "codec --transcode mpeg4": lambda: CodecMotion("mpeg4"),
        "codec, fallback mpeg4": CodecMotion,
        "codec, fallback dis": lambda: CodecMotion(None, "dis"),
    }
    counts: dict[tuple[str, bool], Any] = {}
    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for frames, labels, annotated in snippets:
        for name, make in motions.items():
            for refined in (False, True):
                estimator = make()
                if name == "none" and refined:
                    continue
                if getattr(estimator, "reads_vectors", False) and not any(
                    frame.vectors is not None for frame in frames
                ):
                    continue
                estimator.refinable = refined
                for number in annotated:
                    begin = time.process_time()
                    found = carry(frames, labels[number], number, estimator)
                    seconds[name, refined].append((time.process_time() - begin) / len(found))
                    for offset, label in found.items():
                        truth, said = (classes.train_id_of[each] for each in (labels[number + offset], label))
                        matrix = confusion(truth, said, len(classes.train_names))
                        counts[name, refined] = counts.get((name, refined), 0) + matrix
    print(f"\n{title}: mIoU of ±1…±{NUM_NEIGHBOURS}, seconds a sample")
    for (name, refined), matrix in counts.items():
        way = f"{name}{', refined' if refined else ''}"
        print(f"  {way:<34} {mean_iou(matrix):.3f} {np.mean(seconds[name, refined]):8.3f}")


def carry(frames: Sequence[StreamedFrame], label: np.ndarray, annotated: int, estimator: Any) -> dict[int, np.ndarray]:
    """The label maps of the neighbours of a frame, by offset."""
    around = range(max(0, annotated - NUM_NEIGHBOURS), min(len(frames), annotated + NUM_NEIGHBOURS + 1))
    pictures: dict[int, OpenFrame] = {n - annotated: picture(frames[n]) for n in around}
    clip = Clip(
        key="clip",
        split="",
        group="",
        frames={offset: MemoryFrame(str(offset), frames[annotated + offset].pixels) for offset in pictures},
        label=Label(Resource("", "label", 0)),
    )
    samples = propagate_clip(
        OpenClip(clip, pictures, label, (), unreachable=False),
        ignore_id=255,
        estimator=estimator,
        path=path_of(estimator),
        sample_settings=SampleSettings(images="raw", source=False),
        watch=Stopwatch(),
        on_failure=lambda failure: print(failure),
    )
    return {sample.offset: sample.label for sample in samples}


def picture(frame: StreamedFrame) -> OpenCodedFrame:
    pixels = torch.from_numpy(frame.pixels).permute(2, 0, 1)[None].contiguous()
    to_previous = None if frame.vectors is None else CellFlow.of(frame.vectors, frame.size)
    return OpenCodedFrame(pixels, to_previous=to_previous)


if __name__ == "__main__":
    main()
