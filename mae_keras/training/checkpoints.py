"""A folder of checkpoints that are whole or not there: hashes, retention, the newest whole one.

Each checkpoint is a folder of its own, written aside, flushed and renamed into place, so a kill or
a full disk leaves the earlier ones as they were. Imports no Keras.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

from mae_keras.files import replacing

_NAME = re.compile(r"step-(\d{9})")
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk.

    Attributes:
        path: its folder.
        progress: what `progress.json` holds: where in the run it was made, and everything that
            the model's file does not hold.
    """

    path: pathlib.Path
    progress: dict[str, Any]

    @property
    def model(self) -> pathlib.Path:
        """The model's file: architecture, weights, optimizer."""
        return self.path / "model.keras"

    @property
    def step(self) -> int:
        """Training steps taken when it was made."""
        return step_of(self.path)


class DamagedError(ValueError):
    """A checkpoint is not as it was written."""


# What is missing will not come back; any other error of reading may pass (a network file system).
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class CheckpointStore:
    """The checkpoints of one run: the last few and the best.

    Args:
        folder: where they are; made when the first is saved.
        keep: int, at least 1, how many of the latest to keep; two, so that one may be damaged.

    Raises:
        ValueError: if `keep` is not positive.

    Example:
    >>> import tempfile
    >>> store = CheckpointStore(tempfile.mkdtemp())
    >>> path = store.save(12, {"epoch": 1}, lambda folder: None)
    >>> path.name, store.newest_whole().progress
    ('step-000000012', {'epoch': 1})
    """

    def __init__(self, folder: Any, keep: int = 2):
        if keep < 1:
            raise ValueError(f"`keep` must be at least 1. Received: keep={keep!r}")
        self.folder = pathlib.Path(folder)
        self.keep = keep

    def paths(self) -> list[pathlib.Path]:
        """Folders of all checkpoints, oldest first, damaged ones among them."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def save(
        self, step: int, progress: dict[str, Any], write: Callable[[pathlib.Path], Any]
    ) -> pathlib.Path:
        """Write a checkpoint in one step, then remove those no longer kept.

        Args:
            step: int, training steps taken.
            progress: dict for `progress.json`; `"score"`, if it has one, is smaller for better.
            write: called with the folder to write the other files into.

        Returns:
            The checkpoint's folder.

        Raises:
            OSError: if it cannot be written; the others are as they were.
        """
        path = self.folder / f"step-{step:09d}"
        with replacing(path) as aside:
            aside.mkdir()
            write(aside)
            (aside / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
            files = {file.name: _fingerprint(file) for file in sorted(aside.iterdir())}
            (aside / "manifest.json").write_text(json.dumps({"files": files}, indent=2))
        self._prune()
        return path

    def newest_whole(
        self, report: Callable[[str], Any] = print, run_id: str | None = None
    ) -> Checkpoint | None:
        """The newest checkpoint that is as it was written.

        Args:
            report: called with a sentence for each damaged one that is passed over.
            run_id: str, pass over those whose progress has another `"run_id"`.

        Returns:
            `Checkpoint`, or `None` where nothing has been saved yet.

        Raises:
            DamagedError: if there are checkpoints but none is whole.
            OSError: if one cannot be read just now, which says nothing about its content.
        """
        damaged = []
        for path in reversed(self.paths()):
            try:
                checkpoint = load_checkpoint(path)
                if run_id and checkpoint.progress.get("run_id", run_id) != run_id:
                    raise DamagedError(f"Checkpoint {path.name} was written by another run.")
                return checkpoint
            except DamagedError as error:
                damaged.append(path)
                report(f"{error} Going back to the one before.")
        if damaged:
            raise DamagedError(
                f"None of the {len(damaged)} checkpoints in {str(self.folder)!r} is whole and of "
                f"this run. Restore one from a copy, or start again with --overwrite"
            )
        return None

    def remove_after(self, step: int) -> None:
        """Remove the checkpoints of later steps: damaged ones, once an earlier one is in use."""
        for path in self.paths():
            if step_of(path) > step:
                shutil.rmtree(path)

    def _prune(self) -> None:
        paths = self.paths()
        try:
            kept = {*paths[-self.keep :], self.best()}
        except OSError:  # which is the best cannot be read just now
            return
        for path in paths:
            if path not in kept:
                # The manifest goes first: a half-removed one is damaged, not almost whole.
                with contextlib.suppress(OSError):  # a saved checkpoint is saved all the same
                    (path / "manifest.json").unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)

    def best(self) -> pathlib.Path | None:
        """The checkpoint of the smallest score, the later of equals; `None` without scores.

        Raises:
            OSError: if a score cannot be read just now.
        """
        scores = {path: _score(path) for path in self.paths()}
        scored = [(score, -step_of(path), path) for path, score in scores.items() if score < _WORST]
        return min(scored)[2] if scored else None


_WORST = float("inf")


def load_checkpoint(path: pathlib.Path) -> Checkpoint:
    """Check every file of a checkpoint against its hash, then read it.

    Args:
        path: folder of the checkpoint.

    Returns:
        `Checkpoint`.

    Raises:
        DamagedError: if a file is missing, cut short or changed, naming it.
        OSError: if one cannot be read just now, which says nothing about its content.

    Example:
    >>> load_checkpoint(pathlib.Path("runs/digits/checkpoints/step-000000400")).step
    ... # doctest: +SKIP
    400
    """
    try:
        for name, (size, digest) in {"progress.json": (0, ""), **_manifest(path)}.items():
            found = _fingerprint(path / name)
            if (found["size"], found["sha256"]) != (size, digest):
                raise DamagedError(
                    f"Checkpoint {path.name} is damaged: {name} is not as it was written "
                    f"({found['size']:,} bytes, {size:,} written)."
                )
        return Checkpoint(path, json.loads((path / "progress.json").read_text(encoding="utf-8")))
    except _MISSING as error:
        name = pathlib.Path(str(error.filename)).name
        raise DamagedError(f"Checkpoint {path.name} is damaged: {name} is missing.") from error
    except OSError as error:
        raise OSError(
            f"Checkpoint {path.name} could not be read ({error}), which need not mean that it is "
            f"damaged: try again. To go back to the one before, move {str(path)!r} away"
        ) from error


def _manifest(path: pathlib.Path) -> dict[str, tuple[int, str]]:
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["files"]
        return {str(name): (entry["size"], entry["sha256"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"Checkpoint {path.name} is damaged: its manifest.json cannot be read."
        ) from error


def step_of(path: pathlib.Path) -> int:
    """The training steps in the name of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def _score(path: pathlib.Path) -> float:
    """The score of a checkpoint; infinite where there is none or it is damaged."""
    try:
        score = json.loads((path / "progress.json").read_text(encoding="utf-8")).get("score")
    except (*_MISSING, ValueError, AttributeError):
        return _WORST
    finite = isinstance(score, (int, float)) and score == score
    return float(score) if finite else _WORST


def _fingerprint(file: pathlib.Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}
