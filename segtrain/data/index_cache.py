"""Centroids that were once found, in a file named after what they were found in.

A file that is damaged, or can't be written, costs no more than finding them again.
"""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from jobs.files import whole_file
from propagate.data.classes import ClassTable
from propagate.data.clip import Label, Resource
from segtrain.data.centroids import Centroids

CENTROIDS_VERSION = 1  # to be raised when `segtrain.data.centroids` finds others
_DAMAGE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)

_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """The folder for what can be found again: below XDG_CACHE_HOME, or ~/.cache where that isn't set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "label-propagation"


def cache_key(labels: Sequence[Label], classes: ClassTable, tile: int) -> str:
    """A digest of what centroids follow from: the label maps by name and content, classes and tile.

    Files are read for it, which is far quicker than decoding them; of those in a zip the CRC-32 is known.
    Raises: InputError for a file that can't be read.
    """
    content = {
        "version": CENTROIDS_VERSION,
        "labels": [[label.resource.name, _checksum(label.resource), label.holds] for label in labels],
        "classes": classes.to_json(),
        "tile": tile,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _checksum(resource: Resource) -> int:
    return resource.member.crc if resource.member else zlib.crc32(resource.read())


def load_centroids(cache: Path, key: str) -> Centroids | None:
    """The centroids that were saved under a key; None where none were, or the file is damaged, which is logged."""
    path = _path(cache, key)
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a zip: its CRC-32s show what is damaged
            return Centroids(**{field.name: arrays[field.name] for field in fields(Centroids)})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _DAMAGE as error:
        _log.warning("%s: damaged (%s: %s); it is made again", path, type(error).__name__, error)
        return None


def save_centroids(cache: Path, key: str, centroids: Centroids) -> None:
    """Keep centroids under a key, whole or not at all; a failure is logged."""
    path = _path(cache, key)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, **asdict(centroids))
    except OSError as error:
        _log.warning("%s: can't be written (%s); label maps will be read again next time", path, error.strerror)


def _path(cache: Path, key: str) -> Path:
    return cache / f"centroids-{key[:32]}.npz"
