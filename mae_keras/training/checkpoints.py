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

from mae_keras.files import NotRegularError, open_regular, read_json, replacing

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
    >>> path = store.save(12, {"epoch": 1}, lambda folder: (folder / "model.keras").touch())
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
            progress: dict for `progress.json`; `"score"`, if it has one, is smaller for better,
                `"run_id"` is kept in the manifest too.
            write: called with the folder to write the other files into, `model.keras` among them.

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
            manifest = {"files": files, "run_id": progress.get("run_id"), "step": step}
            (aside / "manifest.json").write_text(json.dumps(manifest, indent=2))
        self._prune()
        return path

    def newest_whole(
        self, report: Callable[[str], Any] = print, run_id: str | None = None
    ) -> Checkpoint | None:
        """The newest checkpoint that is as it was written.

        Args:
            report: called with a sentence for each damaged one that is passed over.
            run_id: str, pass over those of another run.

        Returns:
            `Checkpoint`, or `None` where nothing has been saved yet.

        Raises:
            DamagedError: if there are checkpoints but none is whole.
            OSError: if one cannot be read just now, which says nothing about its content.
        """
        damaged = []
        for path in reversed(self.paths()):
            try:
                return load_checkpoint(path, run_id)
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
                _remove(path)

    def _prune(self) -> None:
        paths = self.paths()
        try:
            kept = {*paths[-self.keep :], self.best()}
        except OSError:  # which is the best cannot be read just now
            return
        for path in paths:
            if path not in kept:
                with contextlib.suppress(OSError):  # a saved checkpoint is saved all the same
                    _remove(path)

    def best(self) -> pathlib.Path | None:
        """The checkpoint of the smallest score, the later of equals; `None` without scores.

        Raises:
            OSError: if a score cannot be read just now.
        """
        scores = {path: _score(path) for path in self.paths() if _is_folder(path)}
        scored = [(score, -step_of(path), path) for path, score in scores.items() if score < _WORST]
        return min(scored)[2] if scored else None


def _is_folder(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: pathlib.Path) -> None:
    """Remove a checkpoint; of a link only the link."""
    if not _is_folder(path):
        path.unlink(missing_ok=True)
        return
    # The manifest goes first: a half-removed one is damaged, not almost whole.
    with contextlib.suppress(OSError):
        (path / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(path)


_WORST = float("inf")


def load_checkpoint(path: pathlib.Path, run_id: str | None = None) -> Checkpoint:
    """Check every file of a checkpoint against its hash, then read it.

    Args:
        path: folder of the checkpoint.
        run_id: str, the run that it must be of; `None` accepts any.

    Returns:
        `Checkpoint`.

    Raises:
        DamagedError: if a file is missing, cut short or changed, naming it; if the folder is a
            copy of another step's or another run's.
        OSError: if one cannot be read just now, which says nothing about its content.

    Example:
    >>> load_checkpoint(pathlib.Path("runs/digits/checkpoints/step-000000400")).step
    ... # doctest: +SKIP
    400
    """
    try:
        if not _is_folder(path):
            kind = "a symbolic link" if path.is_symlink() else "no folder"
            raise DamagedError(f"Checkpoint {path.name} is damaged: it is {kind}.")
        manifest = _read(path, "manifest.json")
        for name, (size, digest) in _files_of(path, manifest).items():
            found = _fingerprint(path / name)
            if (found["size"], found["sha256"]) != (size, digest):
                raise DamagedError(
                    f"Checkpoint {path.name} is damaged: {name} is not as it was written "
                    f"({found['size']:,} bytes, {size:,} written)."
                )
        progress = _read(path, "progress.json")
        _check_origin(path, manifest, progress, run_id)
        return Checkpoint(path, progress)
    except NotRegularError as error:
        raise DamagedError(f"Checkpoint {path.name} is damaged: {error}.") from error
    except _MISSING as error:
        name = pathlib.Path(str(error.filename)).name
        raise DamagedError(f"Checkpoint {path.name} is damaged: {name} is missing.") from error
    except OSError as error:
        raise OSError(
            f"Checkpoint {path.name} could not be read ({error}), which need not mean that it is "
            f"damaged: try again. To go back to the one before, move {str(path)!r} away"
        ) from error


def _read(path: pathlib.Path, name: str) -> dict[str, Any]:
    try:
        return read_json(path / name, follow_links=False)
    except NotRegularError:
        raise
    except ValueError as error:
        raise DamagedError(
            f"Checkpoint {path.name} is damaged: its {name} cannot be read: {error}."
        ) from error


def _files_of(path: pathlib.Path, manifest: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Name to size and hash of every file, as the manifest has them."""
    try:
        files = {
            str(name): (entry["size"], entry["sha256"]) for name, entry in manifest["files"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"Checkpoint {path.name} is damaged: its manifest.json cannot be read."
        ) from error
    missing = [name for name in ("model.keras", "progress.json") if name not in files]
    foreign = [name for name in files if pathlib.PurePath(name).name != name]
    if missing or foreign:
        what = f"does not list {missing[0]}" if missing else f"lists {foreign[0]!r}"
        raise DamagedError(f"Checkpoint {path.name} is damaged: its manifest.json {what}.")
    return files


def _check_origin(
    path: pathlib.Path, manifest: dict[str, Any], progress: dict[str, Any], run_id: str | None
) -> None:
    """Refuse a copy of another step's or another run's checkpoint under this name."""
    origin = sorted({*manifest} - {"files"})
    if not origin and not is_sealed(run_id):  # an earlier version wrote no more
        if run_id and progress.get("run_id", run_id) != run_id:
            raise DamagedError(f"Checkpoint {path.name} was written by another run.")
        return
    if origin != ["run_id", "step"] or manifest["run_id"] != progress.get("run_id"):
        raise DamagedError(
            f"Checkpoint {path.name} is damaged: its manifest.json does not say of which run and "
            f"step it is."
        )
    if manifest["step"] != step_of(path):
        raise DamagedError(f"Checkpoint {path.name} is a copy of that of step {manifest['step']}.")
    if run_id and manifest["run_id"] != run_id:
        raise DamagedError(f"Checkpoint {path.name} was written by another run.")


_SEALED = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


def is_sealed(run_id: str | None) -> bool:
    """Whether a run's name ends in the hash of its config, as `RunFolder.start` gives it.

    Example:
    >>> is_sealed("0011223344556677"), is_sealed("0011223344556677-8899aabbccddeeff")
    (False, True)
    """
    return run_id is not None and _SEALED.fullmatch(run_id) is not None


def step_of(path: pathlib.Path) -> int:
    """The training steps in the name of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def _score(path: pathlib.Path) -> float:
    """The score of a checkpoint; infinite where there is none or it is damaged."""
    try:
        score = read_json(path / "progress.json", follow_links=False).get("score")
    except (*_MISSING, ValueError):
        return _WORST
    finite = isinstance(score, (int, float)) and score == score
    return float(score) if finite else _WORST


def _fingerprint(file: pathlib.Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open_regular(file, follow_links=False) as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest()}
