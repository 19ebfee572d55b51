"""Tar files of samples, as WebDataset and others read them one after the other.

SPLIT-000000.tar, …: of each sample NUMBER.png or NUMBER.jpg, the frame; NUMBER.label.png, label ids;
NUMBER.confidence.png, levels 0…15; and NUMBER.json, what else a store knows of it. Beside them classes.yaml, the class
table.

Reference: Aizman, Maltby, Breuel, "High Performance I/O For Large Scale Deep Learning", IEEE Big Data 2019.
"""

import io
import json
import tarfile
from collections.abc import Iterator

from propagate.data.classes import ClassTable
from propagate.data.images import encode_png
from propagate.data.sample import Sample
from propagate.export import File
from propagate.formats.writing import AnnotationFormat, AnnotationWriter

SHARD_BYTES = 256 * 2**20  # a tar file is full when it holds so many


class WebDatasetWriter(AnnotationWriter):
    """One tar file in memory at a time; equal samples give equal files."""

    def __init__(self, split: str, classes: ClassTable) -> None:
        super().__init__(split, classes)
        self._number = self._shard = 0
        self._begin()

    @property
    def exactness(self) -> str:
        return ""

    def files(self, sample: Sample) -> Iterator[File]:
        name = f"{self._number:08d}"  # a key may have dots, at which readers cut names
        file, frame = self.frame(sample)
        about = {
            "key": sample.key,
            "source_key": sample.source_key,
            "group": sample.group,
            "offset": sample.offset,
            "pairing": sample.pairing,
            "origin": sample.origin,
            "score": sample.score,
        }
        if sample.second_source_key:
            about |= {"second_source_key": sample.second_source_key, "second_offset": sample.second_offset}
        self._add(f"{name}.{file.rpartition('.')[2]}", frame)
        self._add(f"{name}.label.png", encode_png(sample.label))
        self._add(f"{name}.confidence.png", encode_png(sample.confidence))
        self._add(f"{name}.json", json.dumps(about).encode())
        self._number += 1
        if self._buffer.tell() >= SHARD_BYTES:
            yield self._full()

    def rest(self) -> Iterator[File]:
        if self._tar.getmembers():
            yield self._full()
        yield from super().rest()

    def _begin(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    def _full(self) -> File:
        self._tar.close()
        file = f"{self.split}-{self._shard:06d}.tar", self._buffer.getvalue()
        self._shard += 1
        self._begin()
        return file


WEBDATASET = AnnotationFormat(WebDatasetWriter)
