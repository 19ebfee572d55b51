"""A report as a folder that opens from a disk, without a server and without a network."""

import glob
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.files import open_regular, write_whole
from propagate.data.sample import ANNOTATED, ORIGINS
from propagate.errors import ReviewError
from propagate.review.contents import OF_DATA, STORE, Contents
from propagate.review.decisions import beside
from propagate.review.rows import Rows

BEGINS = b"report.store("  # what STORE begins with
_OF_PAGE = re.compile(r"index\.html|page/[\w-]+\.(js|css)", re.ASCII)


def default_folder(store: Path) -> Path:
    """STORE-report, beside the store."""
    return beside(store, "-report")


def require_own(out: Path) -> None:
    """Raise ReviewError unless OUT is new, empty, or a report and nothing else: what will be replaced."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise ReviewError(f"{out}: is no folder; give --out another name")
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or path.is_file())
    strangers = [name for name in found if not (_OF_PAGE.fullmatch(name) or OF_DATA.fullmatch(name))]
    if strangers:
        raise ReviewError(
            f"{out}: holds '{strangers[0]}', which is no part of a report; move it, or give another --out"
        )
    if found and not _begins(out / STORE):
        raise ReviewError(f"{out}: holds '{found[0]}', but is no report of ours; remove it, or give another --out")


def _begins(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(BEGINS)) == BEGINS
    except OSError:
        return False


def worst(rows: Rows, number: int) -> list[bool]:
    """Which of the rows have pictures: of the propagated samples, those which differ most from another store, where
    they were compared, and else of the lowest score; then the annotated ones.
    """
    is_annotated = np.array([ORIGINS[origin] == ANNOTATED for origin in rows.origin])
    differs = np.nan_to_num(np.array(rows.differs), nan=-1)
    order = np.lexsort((np.array(rows.score), -differs, is_annotated))
    drawn = np.zeros(len(rows), bool)
    drawn[order[:number]] = True
    return drawn.tolist()


def write_folder(
    contents: Contents, out: Path, *, on_progress: Callable[[int], object] = lambda _: None
) -> tuple[int, int]:
    """Write a report to OUT, in place of an earlier one: it is there whole, or the earlier one is -> files, bytes.

    on_progress: called with the number of pictures written since its last call. Raises: ReviewError, StoreError.
    """
    require_own(out)
    partial = _hidden(out, secrets.token_hex(4), "partial")
    num_files = num_bytes = 0
    try:
        _put_back(out)
        for leftover in _all_hidden(out, "partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        for name in contents.names():
            data = contents.file(name)
            assert data is not None, name
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(partial / name, data, synced=False)
            num_files, num_bytes = num_files + 1, num_bytes + len(data)
            on_progress(name.startswith("data/p-"))
        _replace(partial, out)
    except OSError as error:
        raise ReviewError(
            f"{error.filename or out}: cannot be written ({error.strerror}); make room, or give another --out"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return num_files, num_bytes


def _replace(partial: Path, out: Path) -> None:
    """The folder takes the place of an earlier one, which goes first. Raises: OSError."""
    if out.exists():
        former = _hidden(out, secrets.token_hex(4), "former")
        out.rename(former)
        try:
            partial.rename(out)
        except BaseException:
            former.rename(out)
            raise
        shutil.rmtree(former, ignore_errors=True)
    else:
        partial.rename(out)


def _put_back(out: Path) -> None:
    """A report that was put aside by who was killed before another took its place takes it again. Raises: OSError."""
    for former in _all_hidden(out, "former"):
        if out.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(out)


def _hidden(out: Path, token: str, kind: str) -> Path:
    """Where a report lies that is not in its place yet, or no longer."""
    return out.with_name(f".{out.name}.{token}.{kind}")


def _all_hidden(out: Path, kind: str) -> list[Path]:
    return sorted(out.parent.glob(glob.escape(f".{out.name}.") + f"*.{kind}"))
