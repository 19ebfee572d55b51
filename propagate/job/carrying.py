"""Samples made of the labels of annotated frames, carried along the motion: what `propagate run` writes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jobs.training.runtime import Runtime
from jobs.training.weights import digest
from propagate.carry.carried import Carried, LabelCorrection
from propagate.carry.correction import NetworkCorrection
from propagate.carry.corrector_files import open_corrector
from propagate.carry.masks import MaskVote
from propagate.carry.opened import OpenClip
from propagate.carry.paths import path_of
from propagate.carry.sample_settings import SampleSettings
from propagate.carry.samples import propagate_clip
from propagate.data.classes import IGNORE_TRAIN_ID, ClassTable
from propagate.data.sample import Sample
from propagate.job.making import Notes
from sdcnet.motion.registry import MotionSettings, open_estimator

CARRIED, CORRECTED = "carried", "corrected"  # what is counted of pixels, where there is a corrector


@dataclass(frozen=True, kw_only=True)
class Carrying:
    """A `Making`: by which motion labels are carried, what corrects them, and how samples are made of them."""

    motion: MotionSettings
    sample_settings: SampleSettings
    corrector: Path | None = None

    @property
    def is_network(self) -> bool:
        return self.motion.is_network

    @property
    def device(self) -> str:
        return self.motion.device

    @property
    def reads_vectors(self) -> bool:
        return self.motion.reads_vectors

    @property
    def images(self) -> str:
        return self.sample_settings.images

    def open(self, classes: ClassTable) -> "Carrier":
        return Carrier(self, classes)


class Carrier:
    """A `Maker` that owns the motion estimator, and the corrector, if there is one: it computes on the same device."""

    def __init__(self, carrying: Carrying, classes: ClassTable) -> None:
        self._estimator = open_estimator(carrying.motion)
        self._path = path_of(self._estimator)
        self._ignored = torch.from_numpy(classes.train_id_of == IGNORE_TRAIN_ID)
        self._settings, self._classes = carrying.sample_settings, classes
        self.fingerprint: Mapping[str, object] = self._estimator.fingerprint
        self._corrector: NetworkCorrection | None = None
        if carrying.corrector is not None:
            runtime = Runtime(device=self._path.device)
            corrector = runtime.prepare(open_corrector(carrying.corrector, classes))
            self._corrector = NetworkCorrection(corrector, classes, runtime)
            self.fingerprint = {**self.fingerprint, "corrector": digest(carrying.corrector)}
        self.transfers = self._estimator.transfers

    def __call__(self, opened: OpenClip, notes: Notes) -> Iterator[Sample]:
        clip = opened.clip
        masks = {clip.frames[offset].key: file for offset, file in clip.masks.items()}
        corrections: list[LabelCorrection] = []
        if self._corrector is not None:
            corrections.append(Counted(self._corrector, notes.counts))
        if masks:
            corrections.append(MaskVote(masks, self._ignored, notes.unreachable.append))
        return propagate_clip(
            opened,
            ignore_id=self._classes.ignore_id,
            estimator=self._estimator,
            path=self._path,
            sample_settings=self._settings,
            watch=notes.watch,
            on_failure=notes.failures.append,
            corrections=corrections,
        )


@dataclass(frozen=True)
class Counted:
    """A `LabelCorrection` that counts the pixels it sees, and those whose label it changes."""

    correction: LabelCorrection
    counts: Counter[str]

    def __call__(self, carried: Carried, targets: Tensor, keys: Sequence[str]) -> Carried:
        corrected = self.correction(carried, targets, keys)
        self.counts[CARRIED] += carried.label.numel()
        self.counts[CORRECTED] += int((corrected.label != carried.label).sum())
        return corrected
