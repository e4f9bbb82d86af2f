"""The folder of one run: what is in it, whether it may be written, and how to go on."""

import csv
import io
import json
import os
import pathlib
import shutil
import time
from typing import Any

import keras

from mae_keras.files import replacing

CONTENTS = (
    "model.keras",
    "checkpoint.keras",
    "config.json",
    "history.csv",
    "metrics.json",
    "evaluation.json",
    "evaluation",
    "model_card.md",
    "loss.png",
    "reconstructions.png",
    "saved_model",
    "pictures",
    "logs",
)


class RunFolder:
    """Paths and files of a run; every file is replaced in one step.

    Args:
        path: folder of the run; need not exist yet.

    Example:
    >>> RunFolder("runs/digits").model.name
    'model.keras'
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self.model = self.path / "model.keras"
        self.checkpoint = self.path / "checkpoint.keras"
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.loss_picture = self.path / "loss.png"
        self.reconstructions = self.path / "reconstructions.png"
        self.saved_model = self.path / "saved_model"
        self.evaluation = self.path / "evaluation.json"
        self.evaluation_pictures = self.path / "evaluation"
        self.model_card = self.path / "model_card.md"

    def check(self, config: dict[str, Any], resume: bool = False, overwrite: bool = False) -> None:
        """Refuse a folder that this run may not write to; changes nothing.

        Args:
            config: what defines the run.
            resume: bool, go on with the run that is there, which must have the same config.
            overwrite: bool, replace the run that is there.

        Raises:
            ValueError: if the folder holds something and neither flag allows it, or both are
                given, or the config differs from that of the run to resume.
        """
        if resume and overwrite:
            raise ValueError("`--resume` and `--overwrite` exclude each other. Received: both")
        if self.path.is_file():
            raise ValueError(f"`out` must be a folder. Received: the file {str(self.path)!r}")
        held = self._held()
        if resume:
            self._check_same(config, held)
        elif held:
            self._check_replaceable(held, overwrite)

    def start(self, config: dict[str, Any], resume: bool = False) -> None:
        """Claim the folder, after `check`: remove the earlier run unless resuming, write config.

        Args:
            config: what defines the run; written to `config.json`.
            resume: bool, keep what is there.
        """
        if resume:
            return
        # config.json goes last: an interrupted removal still looks like a run.
        for name in sorted(self._held(), key=lambda name: name == "config.json"):
            item = self.path / name
            shutil.rmtree(item) if item.is_dir() else item.unlink()
        self.write_json(self.config, config)

    def contents(self) -> list[str]:
        """Names of what is in the folder."""
        return self._held()

    def _held(self) -> list[str]:
        if not self.path.is_dir():
            return []
        # Leftovers of an interrupted write are no content.
        names = sorted(item.name for item in self.path.iterdir())
        return [name for name in names if not name.startswith(".")]

    def _check_same(self, config: dict[str, Any], held: list[str]) -> None:
        if not self.config.exists():
            there = f"a folder without config.json (it holds {held[:5]})" if held else "no run"
            raise ValueError(f"`--resume` needs a run in {str(self.path)!r}. Received: {there}")
        before, now = self.read_json(self.config), json.loads(json.dumps(config))
        differing = [
            f"{key}: {before.get(key)!r} in the run, {now.get(key)!r} now"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
        ]
        if differing:
            raise ValueError(
                f"`--resume` goes on with the run in {str(self.path)!r} unchanged, but these "
                f"settings differ: {'; '.join(differing)}"
            )

    def _check_replaceable(self, held: list[str], overwrite: bool) -> None:
        foreign = [name for name in held if name not in CONTENTS]
        if "config.json" not in held or foreign:
            raise ValueError(
                f"`out` must be a new or empty folder, or that of an earlier run. Received: "
                f"{str(self.path)!r}, which holds {(foreign or held)[:5]}"
            )
        if not overwrite:
            raise ValueError(
                f"`out` holds another run: {str(self.path)!r}. Add --resume to go on with it, "
                f"--overwrite to replace it, or choose another folder"
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
            ValueError: if it is missing or no JSON, naming it.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{str(path)!r} cannot be read: {error}") from error

    def read_evaluation(self) -> dict[str, Any]:
        """What has been evaluated so far; empty when nothing has."""
        return self.read_json(self.evaluation) if self.evaluation.exists() else {}

    def read_history(self) -> dict[str, list[float | None]]:
        """History as columns; empty when nothing has been trained."""
        if not self.history.exists():
            return {}
        with self.history.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
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


class RunCheckpoint(keras.callbacks.Callback):
    """Keep history and checkpoints at the ends of epochs, to resume from.

    The checkpoint is a whole `.keras` file: weights, optimizer, step counters. It is written
    inside `fit`, before Keras puts averaged weights in place at the end. The history is written
    first, so a kill in between leaves a row too many, which resuming drops, and none too few.

    Args:
        run: `RunFolder`.
        epochs_done: int, epochs of the run already in its history.
        min_seconds: float, epochs that end sooner after a checkpoint write none, so that short
            epochs do not spend their time on saving; the last epoch always does.

    Example:
    >>> callback = RunCheckpoint(RunFolder("runs/digits"))
    """

    def __init__(self, run: RunFolder, epochs_done: int = 0, min_seconds: float = 15.0):
        super().__init__()
        self.run = run
        self.min_seconds = min_seconds
        self._saved = time.monotonic()
        kept = run.read_history() if epochs_done else {}
        self.rows = {name: values[:epochs_done] for name, values in kept.items()}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {"epoch": float(epoch + 1), **{k: float(v) for k, v in (logs or {}).items()}}
        for name in row.keys() | self.rows.keys():
            column = self.rows.setdefault(name, [None] * epoch)
            column.append(row.get(name))
        self.run.write_history({name: self.rows[name] for name in [*row, *self._others(row)]})
        last = epoch + 1 == (self.params or {}).get("epochs")
        if last or time.monotonic() - self._saved >= self.min_seconds:
            self.model.save(self.run.checkpoint)
            self._saved = time.monotonic()

    def _others(self, row: dict[str, float]) -> list[str]:
        return [name for name in self.rows if name not in row]
