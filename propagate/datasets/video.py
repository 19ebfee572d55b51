"""Videos, and label maps of some of their frames: nothing is extracted.

ROOT/<video>.mp4 (or another kind of video), ROOT/labels/<video>/<n>.png for its frame n, counted from 0 in the order in
which frames are shown, or t<seconds>.png for the frame that is shown then. ROOT/layout.yaml names the class table.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from statistics import median

from propagate.data.clip import Clip, Label
from propagate.data.video_frame import VideoFile, VideoFrame
from propagate.datasets.base import DatasetOptions, refuse_max_gap, say_without_effect
from propagate.datasets.folder import safe_name
from propagate.datasets.layout import has_layout, layout_file, load_label_form
from propagate.datasets.tree import Tree
from propagate.errors import DatasetError
from sdcnet.errors import FrameError
from sdcnet.frames.video import ENDINGS, VideoSequence

LABELS = "labels"
_NUMBER = re.compile(r"(\d{1,9})\.png", re.ASCII)
_TIME = re.compile(r"t(\d{1,9}(\.\d{1,9})?)\.png", re.ASCII)


class Video:
    """Offsets count the frames of a video. Raises: DatasetError: no videos, labels of a video that is not there, …"""

    @classmethod
    def fits(cls, options: DatasetOptions) -> bool:
        """Whether a layout file without patterns is given, or lies in the root."""
        return has_layout(options, with_patterns=False)

    def __init__(self, options: DatasetOptions) -> None:
        refuse_max_gap(options, "video", "since a video's frames follow one another")
        self._tree = Tree(options.root, archives=())
        self._split = options.split
        say_without_effect(options, "videos have no splits")
        form = load_label_form(layout_file(options, "video", "classes, and labels_hold: colors if they hold colours"))
        self.classes, self._holds = form.classes, form.labels_hold
        self._paths = self._videos()
        folders = self._tree.folders(LABELS)
        if not folders:
            raise DatasetError(
                f"{options.root}: videos without labels: expected {LABELS}/<video>/<n>.png, n counted from 0; add them"
            )
        if strangers := [name for name in folders if name not in self._paths]:
            raise DatasetError(
                f"{self._tree.root / LABELS / strangers[0]}: no video of that name; there are {', '.join(self._paths)}"
            )
        self._labelled = [name for name in folders if self._tree.files(f"{LABELS}/{name}")]

    def clips(self, num_neighbours: int) -> list[Clip]:
        clips = [clip for name in self._labelled for clip in self._clips_of(name, num_neighbours)]
        if not any(clip.frames for clip in clips):
            raise DatasetError(f"{self._tree.root / LABELS}: no label map, or none of a frame that is there; add some")
        return clips

    def labels(self, keys: Iterable[str]) -> dict[str, Label]:
        found = {
            self._key(name, number): self._label(name, file)
            for name in self._labelled
            for number, file in self._numbers[name].items()
        }
        return {key: found[key] for key in keys if key in found}

    def _videos(self) -> dict[str, str]:
        """The files of videos, by their names without ending, which differ in keys too."""
        found: dict[str, str] = {}
        of_key: dict[str, str] = {}
        for file in self._tree.files(""):
            name, dot, ending = file.rpartition(".")
            if dot + ending.lower() in ENDINGS:
                twin = of_key.setdefault(safe_name(name), file)
                if twin != file:
                    raise DatasetError(
                        f"{self._tree.root / file}: its frames would be called {safe_name(name)}_…, as those of "
                        f"{twin}; rename one of them"
                    )
                found[name] = file
        if not found:
            raise DatasetError(
                f"{self._tree.root}: no video here ({' '.join(ENDINGS)}); name the folder that holds them"
            )
        return found

    @cached_property
    def _numbers(self) -> dict[str, dict[int, str]]:
        """The files of label maps by the number of their frame, for each video that has some."""
        return {name: self._numbered(name) for name in self._labelled}

    def _numbered(self, name: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for file in self._tree.files(f"{LABELS}/{name}"):
            where = self._tree.root / LABELS / name / file
            if match := _NUMBER.fullmatch(file):
                number = int(match[1])
            elif match := _TIME.fullmatch(file):
                number = self._shown_at(name, float(match[1]), str(where))
            else:
                raise DatasetError(
                    f"{where}: expected a name like 120.png, the frame's number, or t4.8.png, its second; rename it"
                )
            if number in found:
                raise DatasetError(f"{where}: the same frame, {number}, as {found[number]}; keep one of them")
            found[number] = file
        return dict(sorted(found.items()))

    def _shown_at(self, name: str, second: float, where: str) -> int:
        """The number of the frame that is nearest to a time, within half a frame. Raises: DatasetError."""
        times = self._sequence(name).seconds
        after = min(bisect_left(times, second), len(times) - 1)
        number = min((max(after - 1, 0), after), key=lambda n: abs(times[n] - second))
        half = median(after - before for before, after in pairwise(times)) / 2
        if abs(times[number] - second) > half + 1e-6:
            raise DatasetError(
                f"{where}: no frame within half a frame ({half:.3f} s) of {second} s; the nearest is frame {number}, "
                f"at {times[number]:.3f} s; rename it"
            )
        return number

    def _sequence(self, name: str) -> VideoSequence:
        if name not in self._opened:
            try:
                self._opened[name] = VideoSequence(self._tree.root / self._paths[name])
            except FrameError as error:
                raise DatasetError(str(error)) from None
        return self._opened[name]

    @cached_property
    def _opened(self) -> dict[str, VideoSequence]:
        return {}

    def _clips_of(self, name: str, num_neighbours: int) -> list[Clip]:
        sequence = self._sequence(name)
        video = self._file(name)
        clips = []
        for number, file in self._numbers[name].items():
            frames, missing = {}, {}
            if number < len(sequence):
                first, last = max(0, number - num_neighbours), min(len(sequence) - 1, number + num_neighbours)
                frames = {
                    n - number: VideoFrame(self._key(name, n), video, n, sequence.size, (first, last))
                    for n in range(first, last + 1)
                }
            else:
                missing[0] = (
                    f"{self._tree.root / LABELS / name / file}: {self._paths[name]} has no frame {number}, only "
                    f"0…{len(sequence) - 1}; remove the label map, or rename it"
                )
            clips.append(
                Clip(
                    key=self._key(name, number),
                    split=self._split,
                    group=safe_name(name),
                    frames=frames,
                    label=self._label(name, file),
                    missing=missing,
                )
            )
        return clips

    def _file(self, name: str) -> VideoFile:
        try:
            return VideoFile.of(self._tree.root, self._paths[name])
        except OSError as error:
            where = self._tree.resource(self._paths[name])
            raise DatasetError(f"{where}: cannot be read ({error.strerror}); check the disk") from None

    def _label(self, name: str, file: str) -> Label:
        return Label(self._tree.resource(f"{LABELS}/{name}/{file}"), self._holds)

    def _key(self, name: str, number: int) -> str:
        return f"{safe_name(name)}_{number}"
