"""The folder of one run: what is in it, whether it may be written, and how to go on."""

import contextlib
import csv
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mae_keras.files import (
    NotRegularError,
    open_regular,
    read_json,
    remove_leftovers,
    replacing,
)
from mae_keras.run_contents import CONTENTS, FOLDERS, check_new_run, check_resumable, held_names
from mae_keras.training.checkpoints import Checkpoint, CheckpointStore, DamagedError, is_sealed
from mae_keras.training.locking import locked

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
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.loss_picture = self.path / "loss.png"
        self.reconstructions = self.path / "reconstructions.png"
        self.saved_model = self.path / "saved_model"
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
