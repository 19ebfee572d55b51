"""Score a motion estimator on frames: how well it predicts each from the one beside it, and how near its flow is to
the truth."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs.console.tables import Table
from jobs.errors import ComputeError, FileError
from sdcnet.errors import FlowFileError, FrameError, MotionError
from sdcnet.flow_truth import Target, find_targets
from sdcnet.frames.video import VideoSequence
from sdcnet.geometry import inside, warp_frames
from sdcnet.motion.codec import CodecMotion
from sdcnet.motion.estimator import MotionEstimator, Observation, ObservedInVideo, ObservedPixels, Step
from sdcnet.motion.vectors import CellFlow
from sdcnet.scores import SMALLEST_SIDE, FlowErrors, ImageErrors, ImageScores

STEPS_AT_A_TIME = 8  # that an estimator may batch; their frames are in memory


@dataclass(frozen=True, kw_only=True)
class FrameScores:
    """One target: its source, warped to it, of all pixels and of those that come from inside the source (and the
    share that these are); the flow's errors, where the truth is known, and where it is known and not occluded.
    `repeated` tells that there were fewer frames before it than the estimator reads."""

    whole: ImageScores
    inside: ImageScores
    share_inside: float
    flow: FlowErrors | None
    flow_unoccluded: FlowErrors | None
    repeated: bool


@dataclass(frozen=True)
class UnusableSource:
    """A file that could not be used, or a source whose frames the estimator could not work on."""

    path: str
    reason: str


@dataclass
class Evaluation:
    """What was scored, by source; all scores follow from it."""

    motion: Mapping[str, object]  # the estimator's fingerprint
    frames: dict[str, list[FrameScores]]
    failures: list[UnusableSource] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What a reader of the scores should know besides: sentences."""
        num_repeated = sum(frame.repeated for frames in self.frames.values() for frame in frames)
        notes = [f"failed: {failure.path}: {failure.reason}" for failure in self.failures]
        if num_repeated:
            notes.append(
                "in place of frames that the estimator reads and that are not there, the farthest one was repeated for "
                f"{num_repeated} of the frames scored"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: null where there was nothing to score."""
        everything = [frame for frames in self.frames.values() for frame in frames]
        return {
            "motion": dict(self.motion),
            **mean_scores(everything),
            "sources": {source: mean_scores(frames) for source, frames in self.frames.items()},
            "failures": [asdict(failure) for failure in self.failures],
        }

    def table(self) -> str:
        """The scores in aligned columns, for people; a column that nothing was scored for is left out."""
        rows = {source: mean_scores(frames) for source, frames in self.frames.items()}
        if len(rows) > 1:
            rows["all"] = mean_scores([frame for frames in self.frames.values() for frame in frames])
        shown = {
            name: (head, form)
            for name, (head, form) in _COLUMNS.items()
            if any(row[name] is not None for row in rows.values())
        }
        cells = [
            [source, *("-" if row[name] is None else format(row[name], form) for name, (_, form) in shown.items())]
            for source, row in rows.items()
        ]
        return Table(["source", *(head for head, _ in shown.values())], cells).text()


_COLUMNS = {
    "frames": ("frames", "d"),
    "psnr": ("PSNR dB", ".2f"),
    "ssim": ("SSIM", ".4f"),
    "l1": ("L1", ".2f"),
    "share_inside": ("inside", ".1%"),
    "psnr_inside": ("PSNR in", ".2f"),
    "ssim_inside": ("SSIM in", ".4f"),
    "l1_inside": ("L1 in", ".2f"),
    "epe": ("EPE px", ".3f"),
    "outliers": ("Fl", ".2%"),
    "epe_unoccluded": ("EPE noc", ".3f"),
    "outliers_unoccluded": ("Fl noc", ".2%"),
}


def mean_scores(frames: Sequence[FrameScores]) -> dict[str, Any]:
    """The scores of some frames by name: the image's are means over frames, the flow's over pixels; None where nothing
    was there to score. Shares are fractions in [0,1]."""
    scores: dict[str, Any] = {"frames": len(frames), "repeated_history": sum(frame.repeated for frame in frames)}
    for name in ("psnr", "ssim", "l1"):
        scores[name] = _mean(getattr(frame.whole, name) for frame in frames)
    scores["share_inside"] = _mean(frame.share_inside for frame in frames)
    for name in ("psnr", "ssim", "l1"):
        scores[f"{name}_inside"] = _mean(getattr(frame.inside, name) for frame in frames)
    scores["frames_with_truth"] = sum(frame.flow is not None for frame in frames)
    for ending, kind in (("", "flow"), ("_unoccluded", "flow_unoccluded")):
        errors = sum(filter(None, (getattr(frame, kind) for frame in frames)), start=FlowErrors())
        scores[f"epe{ending}"] = _number(errors.epe)
        scores[f"outliers{ending}"] = _number(errors.outliers)
    return scores


def evaluate(
    sources: Iterable[Path],
    estimator: MotionEstimator,
    *,
    limit: int | None = None,
    on_plan: Callable[[int], object] = lambda _: None,
    on_progress: Callable[[int], object] = lambda _: None,
) -> Evaluation:
    """Score an estimator on every frame that has one before it, of folders and videos: see `find_targets`.

    What cannot be used is a failure of the result, and the rest goes on. limit: only the first so many frames of each
    source. on_plan is called once, with the number of frames; on_progress with the number dealt with since its last
    call.
    """
    result = Evaluation(estimator.fingerprint, {})
    plan: dict[str, list[Target]] = {}
    for source in sources:
        try:
            plan[str(source)] = find_targets(source)[:limit]
        except FileError as error:
            result.failures.append(UnusableSource(error.path, error.reason))
    on_plan(sum(map(len, plan.values())))
    for name, targets in plan.items():
        scored = result.frames[name] = []
        try:
            for outcome in _outcomes(estimator, targets):
                if isinstance(outcome, FrameScores):
                    scored.append(outcome)
                elif outcome not in result.failures:  # several frames may need the same file
                    result.failures.append(outcome)
                on_progress(1)
        except (MotionError, ComputeError) as error:
            result.failures.append(UnusableSource(name, str(error)))
    return result


def _outcomes(estimator: MotionEstimator, targets: Iterable[Target]) -> Iterator[FrameScores | UnusableSource]:
    for _, group in groupby(targets, key=lambda target: id(target.sequence)):
        members = list(group)
        for start in range(0, len(members), STEPS_AT_A_TIME):
            yield from _score_together(estimator, members[start : start + STEPS_AT_A_TIME])
        members[0].sequence.close()


def _score_together(estimator: MotionEstimator, targets: Sequence[Target]) -> Iterator[FrameScores | UnusableSource]:
    """Targets of one sequence; where one of their frames cannot be read, each by itself."""
    steps = [Step(history=target.history(estimator.num_history), target=target.index) for target in targets]
    try:
        observations = _observe(
            targets[0], steps, with_vectors=isinstance(estimator, CodecMotion) and estimator.reads_vectors
        )
    except FrameError as error:
        if len(targets) == 1:
            yield UnusableSource(error.path, error.reason)
        else:
            for target in targets:
                yield from _score_together(estimator, [target])
        return
    for target, step, flow in zip(targets, steps, estimator.estimate(observations, steps), strict=True):
        try:
            yield _score(target, step, observations, flow.cpu())
        except FlowFileError as error:
            yield UnusableSource(error.path, error.reason)


def _observe(target: Target, steps: Sequence[Step], *, with_vectors: bool) -> dict[int, Observation]:
    """All frames of some steps, by their number. Raises: FrameError."""
    if min(target.sequence.size) < SMALLEST_SIDE:
        height, width = target.sequence.size
        reason = f"frames of {height}x{width} are too small to score; each side needs {SMALLEST_SIDE} pixels"
        raise FrameError(target.sequence.name, reason)
    numbers = sorted({number for step in steps for number in (*step.history, step.target)})
    if with_vectors and isinstance(target.sequence, VideoSequence):
        return _observe_coded(target.sequence, numbers[0], numbers[-1] + 1)
    frames = target.sequence.frames(numbers[0], numbers[-1] + 1)
    return {number: ObservedPixels(frame) for number, frame in enumerate(frames.split(1), start=numbers[0])}


def _observe_coded(sequence: VideoSequence, start: int, stop: int) -> dict[int, Observation]:
    """The same with the motion vectors of a video's codec. Raises: FrameError."""
    frames, vectors = sequence.frames_and_vectors(start, stop)
    return {
        number: ObservedInVideo(frame, None if records is None else CellFlow.of(records, sequence.size))
        for number, frame, records in zip(range(start, stop), frames.split(1), vectors, strict=True)
    }


def _score(target: Target, step: Step, observations: Mapping[int, Observation], flow: Tensor) -> FrameScores:
    """Raises: FlowFileError where the truth cannot be used."""
    where = inside(flow)
    source, seen = observations[step.source].pixels, observations[step.target].pixels
    images = ImageErrors(warp_frames(source.float(), flow), seen)
    errors, unoccluded = _flow_errors(target, flow)
    return FrameScores(
        whole=images.scores(where.new_ones(where.shape)),
        inside=images.scores(where),
        share_inside=where.float().mean().item(),
        flow=errors,
        flow_unoccluded=unoccluded,
        repeated=len(set(step.history)) < len(step.history),
    )


def _flow_errors(target: Target, flow: Tensor) -> tuple[FlowErrors | None, FlowErrors | None]:
    if target.truth is None:
        return None, None
    truth, valid, unoccluded = target.truth.read()
    if truth.shape != flow.shape:
        sizes = [f"{tensor.shape[2]}x{tensor.shape[3]}" for tensor in (truth, flow)]
        reason = f"a flow of {sizes[0]} for frames of {sizes[1]}. Is it the truth of these frames?"
        raise FlowFileError(str(target.truth.flow), reason)
    errors = FlowErrors.of(flow, truth, valid)
    return errors, None if unoccluded is None else FlowErrors.of(flow, truth, unoccluded)


def _mean(values: Iterable[float]) -> float | None:
    """The mean of those that are not NaN; None where there are none."""
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
