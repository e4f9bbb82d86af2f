"""What a run's folder holds, read without importing Keras: the command line refuses early by it."""

import difflib
import os
import pathlib
from typing import Any

CONTENTS = (
    "model.keras",
    "checkpoints",
    "checkpoint.keras",  # of earlier versions
    "config.json",
    "privacy_seed.json",  # of a private run that has not ended
    "history.csv",
    "metrics.json",
    "report.json",
    "evaluation.json",
    "audit.json",
    "evaluation",
    "model_card.md",
    "loss.png",
    "reconstructions.png",
    "saved_model",
    "pictures",
    "logs",
    "tensorboard",
)
FOLDERS = ("checkpoints", "evaluation", "saved_model", "pictures", "logs", "tensorboard")
# Weights that ship with the package: finished runs, their models in half precision.
WEIGHTS = pathlib.Path(__file__).parent / "weights"


def pretrained_names() -> list[str]:
    """Names of the weights that ship with the package, as `from_pretrained` takes them.

    Returns:
        Sorted list of str.

    Example:
    >>> "mnist" in pretrained_names()
    True
    """
    return sorted(model.parent.name for model in WEIGHTS.glob("*/model.keras"))


def nearest_pretrained(name: str) -> str:
    """The name of pretrained weights that a misspelled one comes closest to; empty for a path.

    Args:
        name: str.

    Example:
    >>> nearest_pretrained("MNITS"), nearest_pretrained("runs/mnist")
    ('mnist', '')
    """
    word = name.lower().replace("-", "_")
    near = difflib.get_close_matches(word, pretrained_names(), 1)
    return near[0] if near and os.sep not in name else ""


def path_of_weights(source: str | os.PathLike[str]) -> pathlib.Path:
    """Where weights to start from are.

    Args:
        source: path, or name of weights that ship with the package, a `str`. The folder of a run
            comes before weights of the same name; a `Path` is never a name.

    Returns:
        `pathlib.Path`, which need not exist.

    Example:
    >>> path_of_weights("mnist").name, str(path_of_weights("runs/mnist"))
    ('mnist', 'runs/mnist')
    """
    path = pathlib.Path(source).expanduser()
    a_run = any((path / name).exists() for name in ("config.json", "model.keras"))
    if isinstance(source, str) and source in pretrained_names() and not a_run:
        return WEIGHTS / source
    return path


def held_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of what is in a folder, leftovers of an interrupted write apart.

    Args:
        path: folder; need not exist.

    Returns:
        Sorted list of str.
    """
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        return []
    names = sorted(item.name for item in folder.iterdir())
    return [name for name in names if not name.startswith(".")]


def check_new_run(
    path: str | os.PathLike[str], overwrite: bool = False, resumable: bool = True
) -> None:
    """Refuse a folder that a new run may not be written to; changes nothing.

    Args:
        path: folder of the new run.
        overwrite: bool, whether an earlier run may be replaced. Defaults to `False`.
        resumable: bool, whether the command can resume a run, which the error suggests then.
            Defaults to `True`.

    Raises:
        ValueError: if it is a file, holds what is not of a run, or holds a run and `overwrite` is
            `False`.

    Example:
    >>> check_new_run("runs/new")
    """
    folder = pathlib.Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"`out` must be a folder. Received: the file {str(folder)!r}")
    held = held_names(folder)
    if not held:
        return
    foreign = [name for name in held if name not in CONTENTS]
    if "config.json" not in held or foreign:
        raise ValueError(
            f"`out` must be a new or empty folder, or that of an earlier run. Received: "
            f"{str(folder)!r}, which holds {(foreign or held)[:5]}"
        )
    if not overwrite:
        resume = "--resume to continue it, " if resumable else ""
        raise ValueError(
            f"`out` holds another run: {str(folder)!r}. Add {resume}--overwrite to replace it, or "
            f"choose another folder"
        )


def check_resumable(path: str | os.PathLike[str]) -> None:
    """Refuse to resume where no run is.

    Args:
        path: folder of the run.

    Raises:
        ValueError: if it has no `config.json`.
    """
    folder = pathlib.Path(path).expanduser()
    if (folder / "config.json").exists():
        return
    held = held_names(folder)
    there = f"a folder without config.json (it holds {held[:5]})" if held else "no run"
    raise ValueError(f"`--resume` needs a run in {str(folder)!r}. Received: {there}")


def config_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings of a run; empty where they cannot be read, which loading the run reports.

    Args:
        path: folder of a run, or the name of weights that ship with the package.
    """
    from mae_keras.files import read_json  # whose libraries help need not wait for

    try:
        config = read_json(path_of_weights(path) / "config.json", follow_links=False)
    except (ValueError, OSError):
        return {}
    return config if isinstance(config, dict) else {}


def run_kind(config: dict[str, Any]) -> str | None:
    """`"classifier"`, `"segmenter"`, `"autoencoder"`, or `None` where settings do not tell.

    Args:
        config: what `config.json` holds.

    Example:
    >>> run_kind({"task": "classification"}), run_kind({"mask_ratio": 0.75}), run_kind({})
    ('classifier', 'autoencoder', None)
    """
    if config.get("task") == "classification" or config.get("model") == "ImageClassifier":
        return "classifier"
    if config.get("task") == "segmentation":
        return "segmenter"
    return "autoencoder" if "mask_ratio" in config else None


def check_kind(path: str | os.PathLike[str], wanted: str, advice: str = "") -> None:
    """Refuse a run of the wrong kind by its settings, before its model is loaded.

    Args:
        path: folder of a run; of a `.keras` file alone nothing is known yet.
        wanted: `"classifier"`, `"segmenter"` or `"autoencoder"`.
        advice: str, a sentence on what to do instead.

    Raises:
        ValueError: if its settings tell that it is of the other kind.
    """
    kind = run_kind(config_of(path))
    if kind in (None, wanted):
        return
    article = {"classifier": "a", "segmenter": "a", "autoencoder": "an"}
    sentences = f"`run` must be {article[wanted]} {wanted} run. {advice}".rstrip().removesuffix(".")
    raise ValueError(f"{sentences}. Received: {os.fspath(path)!r}, {article[kind]} {kind} run")
