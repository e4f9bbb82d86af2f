"""The folder of one run: what is in it, who may write it, checkpoints that are whole or not there.

Each checkpoint is a folder of its own, written aside, flushed and renamed into place, so a kill or
a full disk leaves the earlier ones as they were. A lock ends with the process that holds it.
Imports no Keras.
"""

import contextlib
import csv
import dataclasses
import errno
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from mae_keras.files import (
    NotRegularError,
    check_regular,
    make_folder,
    open_regular,
    read_json,
    remove_leftovers,
    replacing,
)
from mae_keras.run_contents import CONTENTS, FOLDERS, check_new_run, check_resumable, held_names

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


LOGGER = logging.getLogger("mae_keras")

_MARK = re.compile(r"process \d+ on ")
_LONGEST_MARK = 4096


class LockedError(ValueError):
    """The folder is not this process's: another one holds it, or took its place."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Hold a folder's lock, which the operating system frees when this process ends, however.

    The lock is of a file, not of its name: where the folder is removed or moved, another process
    can lock a new one in its place. What is yielded finds out.

    Args:
        folder: made if it is not there; holds a file `.lock`, which stays and means nothing by
            itself.

    Yields:
        Callable to be called before writing: raises `LockedError` if the folder of that name is
        no longer the one that is held.

    Raises:
        LockedError: if another process holds it, naming that process, or `.lock` is a file that
            holds something else, which stays as it is.
        NotRegularError: a `ValueError`, if `.lock` is a symbolic link, a named pipe or a device.

    Example:
    >>> import tempfile
    >>> with locked(tempfile.mkdtemp()) as check:
    ...     check()
    """
    folder = pathlib.Path(folder)
    make_folder(folder)
    with _open_lock(folder / ".lock") as file:
        free = _lock(file)
        file.seek(0)
        text = file.read(_LONGEST_MARK)
        if not free:
            holder = text.partition("\n")[0].strip() or "unknown"
            raise LockedError(
                f"The run's folder must not be in use. Received: {str(folder)!r}, in which another "
                f"process is at work ({holder})"
            )
        if not _is_mark(text):
            raise LockedError(
                f"{str(folder / '.lock')!r} must be the lock of a run. Received: a file that holds "
                f"something else; move it away"
            )
        mark = f"process {os.getpid()} on {socket.gethostname()}\n{secrets.token_hex(8)}\n"
        file.seek(0)
        file.truncate(0)
        file.write(mark)
        file.flush()
        _check(folder, mark)  # it may have been replaced since it was opened
        try:
            yield lambda: _check(folder, mark)
        finally:
            file.truncate(0)


def _is_mark(text: str) -> bool:
    """Whether a lock may be overwritten; a power cut leaves nothing or zeros of a mark's length."""
    return bool(_MARK.match(text)) or (len(text) < 200 and not text.strip("\0"))


def _open_lock(path: pathlib.Path) -> IO[str]:
    """Open for reading and writing, never through a link, and change nothing yet."""
    with contextlib.suppress(FileNotFoundError):
        check_regular(path, follow_links=False)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    file = os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace", newline="")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # exchanged since it was looked at
        file.close()
        raise NotRegularError(f"{str(path)!r} must be a regular file")
    return file


def _check(folder: pathlib.Path, mark: str) -> None:
    """Compare what stands in the file of that name; file numbers differ on some file systems."""
    try:
        with open_regular(folder / ".lock", follow_links=False) as file:
            held = file.read(_LONGEST_MARK) == mark.encode()
    except (FileNotFoundError, NotADirectoryError, NotRegularError):
        held = False
    except OSError:  # cannot be told just now; writing will say so
        return
    if not held:
        raise LockedError(
            f"The run's folder must stay in its place while it is trained in. Received: "
            f"{str(folder)!r}, which was moved, removed or replaced. Nothing more is written"
        )


def _lock(file: IO[str]) -> bool:
    """Take the lock without waiting; whether it was free."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # Windows locks bytes; far from the text, which others may read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        LOGGER.warning(
            "This file system has no locks (%s): see to it yourself that no two processes write "
            "to the run's folder.",
            error,
        )
    return True


# What config.json holds about the run besides.
_NOT_SETTINGS = ("run_id", "init_from_sha256")

_OLD_RUN_ID = re.compile(r"[0-9a-f]{16}")


class RunFolder:
    """Paths and files of a run; every file is replaced in one step.

    Args:
        path: folder of the run; need not exist yet.

    Example:
    >>> RunFolder("runs/digits").model.name
    'model.keras'
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path).expanduser()
        self.model = self.path / "model.keras"
        self.checkpoints = self.path / "checkpoints"
        self.config = self.path / "config.json"
        self.privacy_seed = self.path / "privacy_seed.json"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.loss_picture = self.path / "loss.png"
        self.reconstructions = self.path / "reconstructions.png"
        self.saved_model = self.path / "saved_model"
        self.tensorboard = self.path / "tensorboard"
        self.audit = self.path / "audit.json"
        self.evaluation = self.path / "evaluation.json"
        self.evaluation_pictures = self.path / "evaluation"
        self.model_card = self.path / "model_card.md"
        self.check_held: Callable[[], None] = lambda: None

    def check(
        self,
        config: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        unknown: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        resumable: bool = True,
    ) -> None:
        """Refuse a folder that this run may not write to; changes nothing.

        Args:
            config: what defines the run.
            resume: bool, go on with the run that is there, which must have the same config.
            overwrite: bool, replace the run that is there.
            unknown: names of what will define it too but is not known yet.
            defaults: what settings mean that are not in the config of the run to resume: it was
                begun before there were such.
            resumable: bool, whether the caller can resume a run, which the error suggests then.

        Raises:
            ValueError: if the folder holds something and neither flag allows it, or both are
                given, or the config differs from that of the run to resume.
        """
        if resume and overwrite:
            raise ValueError("`--resume` and `--overwrite` exclude each other. Received: both")
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"`out` must be a folder. Received: the file {str(self.path)!r}")
        self.check_kinds()
        if resume:
            self._check_same(config, unknown, defaults or {})
        else:
            check_new_run(self.path, overwrite, resumable)

    def check_kinds(self) -> None:
        """Refuse a run in which something else stands where a file or folder of it belongs.

        Nothing of a run is read from, written to or removed in another place than the run's own
        folder, which may be a symbolic link itself.

        Raises:
            ValueError: if `checkpoints`, `config.json` or another part is a symbolic link, a
                named pipe, a device, or a file instead of a folder, naming it.
        """
        for name in CONTENTS:
            part = self.path / name
            try:
                mode = part.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            wanted = "folder" if name in FOLDERS else "regular file"
            if not (stat.S_ISDIR(mode) if name in FOLDERS else stat.S_ISREG(mode)):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "something else"
                raise ValueError(
                    f"{str(part)!r} must be a {wanted} of the run's own. Received: {kind}. Move "
                    f"it away, and put the {wanted} in its place"
                )

    def start(self, config: dict[str, Any], resume: bool = False) -> None:
        """Claim the folder, after `check`: remove the earlier run unless resuming, write config.

        Args:
            config: what defines the run; written to `config.json`, with a `"run_id"`: random, then
                a hash of `config`.
            resume: bool, keep what is there.
        """
        if resume:
            return
        # config.json goes last: an interrupted removal still looks like a run.
        for name in sorted(held_names(self.path), key=lambda name: name == "config.json"):
            item = self.path / name
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        run_id = f"{secrets.token_hex(8)}-{_digest(config)}"
        self.write_json(self.config, {**config, "run_id": run_id})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; what an earlier one left half-written is removed.

        Inside, `check_held()` raises `LockedError` once the folder is not the one that was locked.

        Raises:
            LockedError: if another process is at work in the folder.
        """
        with locked(self.path) as check:
            self.check_kinds()
            for folder in (self.path, self.checkpoints):
                remove_leftovers(folder)
            self.check_held = check
            try:
                yield
            finally:
                self.check_held = lambda: None

    def read_config(self) -> dict[str, Any]:
        """What defines the run.

        Raises:
            ValueError: if `config.json` is missing, no regular file, no JSON, or is not as it was
                written. Runs of earlier versions have nothing to compare it with.
        """
        config = self.read_json(self.config)
        run_id = config.get("run_id")
        if run_id is None or (isinstance(run_id, str) and _OLD_RUN_ID.fullmatch(run_id)):
            return config
        settings = {name: value for name, value in config.items() if name != "run_id"}
        if not (is_sealed(run_id) and run_id.endswith(f"-{_digest(settings)}")):
            raise ValueError(
                f"{str(self.config)!r} is not as it was written, so what was trained may be "
                f"something else. Restore it from a copy; if you changed it on purpose, remove its "
                f'line "run_id", which holds its checksum'
            )
        return config

    def run_id(self) -> str | None:
        """What tells this run from others in a folder of that name; `None` of older ones."""
        return self.read_config().get("run_id") if self.config.exists() else None

    def is_sealed(self) -> bool:
        """Whether `config.json` has a checksum; those of earlier versions have none."""
        return is_sealed(self.run_id())

    def check_metrics(self) -> None:
        """Refuse `metrics.json` of another run than `config.json`.

        Raises:
            ValueError: if one of them was exchanged.
        """
        run_id = self.run_id()
        if not is_sealed(run_id) or not self.metrics.exists():
            return
        if self.read_json(self.metrics).get("run_id", run_id) != run_id:
            raise ValueError(
                f"{str(self.config)!r} is that of another run than {self.metrics.name} beside it. "
                f"Restore them from a copy; if you changed it on purpose, remove its line "
                f'"run_id"'
            )

    def newest_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to resume from, the history cut to what it knows.

        Returns:
            `Checkpoint`, or `None` when the run stopped before the first one.

        Raises:
            DamagedError: if there are checkpoints but none is whole, or there are none but the
                run has got further.
            OSError: if one cannot be read just now; nothing is changed.
        """
        self.check_kinds()
        store = CheckpointStore(self.checkpoints)
        checkpoint = store.newest_whole(run_id=self.run_id())
        if checkpoint is None:
            traces = [path.name for path in (self.history, self.model, self.metrics)]
            traces = [name for name in traces if (self.path / name).exists()]
            if traces:
                raise DamagedError(
                    f"The run in {str(self.path)!r} has {' and '.join(traces)} but no checkpoint "
                    f"to go on from. Restore {str(self.checkpoints)!r} from a copy, or start again "
                    f"with --overwrite"
                )
            print("The run stopped before its first checkpoint; it starts from the beginning.")
            return None
        store.remove_after(checkpoint.step)
        rows = checkpoint.progress["rows"]
        if rows:
            self.write_history(rows)
        else:
            self.history.unlink(missing_ok=True)
        return checkpoint

    def contents(self) -> list[str]:
        """Names of what is in the folder."""
        return held_names(self.path)

    def _check_same(
        self,
        config: dict[str, Any],
        unknown: Sequence[str],
        defaults: Mapping[str, Any],
    ) -> None:
        check_resumable(self.path)
        before, now = {**defaults, **self.read_config()}, json.loads(json.dumps(config))
        for name in _NOT_SETTINGS:
            before.pop(name, None)
        if isinstance(before.get("data"), dict) and isinstance(now.get("data"), dict):
            _keep_comparable(before["data"], now["data"])
        differing = [
            f"{key}: {before.get(key)!r} in the run, {now.get(key)!r} now"
            for key in sorted({*before, *now} - set(unknown))
            if before.get(key) != now.get(key)
        ]
        if differing:
            raise ValueError(
                f"`--resume` goes on with the run in {str(self.path)!r} unchanged, but these "
                f"settings differ: {'; '.join(differing)}"
            )

    @staticmethod
    def write_json(path: pathlib.Path, content: Any) -> None:
        """Write a JSON file in one step."""
        with replacing(path) as aside:
            aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def read_json(path: pathlib.Path) -> Any:
        """Read a JSON file.

        Raises:
            ValueError: if it is missing, no regular file or no JSON, naming it.
        """
        try:
            return read_json(path, follow_links=False)
        except NotRegularError:
            raise
        except (OSError, ValueError) as error:
            raise ValueError(f"{str(path)!r} cannot be read: {error}") from error

    def read_evaluation(self) -> dict[str, Any]:
        """What has been evaluated so far; empty when nothing has."""
        return self.read_json(self.evaluation) if self.evaluation.exists() else {}

    def read_history(self) -> dict[str, list[float | None]]:
        """History as columns; empty when nothing has been trained."""
        if not self.history.exists():
            return {}
        with (
            open_regular(self.history, follow_links=False) as file,
            io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
        ):
            rows = list(csv.DictReader(text))
        if not rows:
            return {}
        return {name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0]}

    def write_history(self, history: dict[str, list[float | None]]) -> None:
        """Write columns of equal length, with shortest digits that read back exactly."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(history)
        for row in zip(*history.values(), strict=True):
            writer.writerow("" if value is None else repr(value) for value in row)
        with replacing(self.history) as aside:
            aside.write_text(text.getvalue(), encoding="utf-8")


def _keep_comparable(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Of what is known about images keep what both know; where they lie does not matter."""
    for one, other in ((before, now), (now, before)):
        for key in [key for key in one if key not in other or key == "path"]:
            del one[key]


def _digest(config: dict[str, Any]) -> str:
    """A hash of what a config says, whatever its layout."""
    text = json.dumps(json.loads(json.dumps(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
