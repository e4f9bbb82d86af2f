"""What the processes of a run must agree on: its settings, its images, where to go on."""

import hashlib
import json
from typing import Any

import numpy as np

from mae_keras.training import Checkpoint, RunFolder, gather, is_writer, load_checkpoint

_NONE = -1


def check_agreement(config: dict[str, Any]) -> None:
    """Refuse to train in processes that were started differently; all of them refuse.

    To be called before a model is built: JAX compares weights by waiting for them.

    Args:
        config: what must be equal, images under `"data"`.

    Raises:
        ValueError: if another process has other settings or images.

    Example:
    >>> check_agreement({"epochs": 1, "data": {"train": 1258}})
    """
    settings = {key: value for key, value in config.items() if key != "data"}
    # Each machine may have the same images in another place.
    images = {key: value for key, value in config.get("data", {}).items() if key != "path"}
    said = gather([_digest(settings), _digest(images)])
    for place, what in enumerate(("settings", "images")):
        differing = np.flatnonzero((said[:, place] != said[0, place]).any(-1)).tolist()
        if differing:
            raise ValueError(
                f"All processes of a run must have the same {what}: the same command, versions and "
                f"data. Received: others in process(es) {differing} than in process 0"
            )


def agreed_checkpoint(run: RunFolder, found: Checkpoint | None) -> Checkpoint | None:
    """The checkpoint that the writer found, in every process.

    The others do not look for one themselves: they might find another whole and train from it.

    Args:
        run: `RunFolder`.
        found: `Checkpoint` or `None`, as the writer found it; in the others it does not count.

    Returns:
        `Checkpoint`, or `None` if there is none to go on from.

    Raises:
        DamagedError: if this process finds the writer's checkpoint damaged.

    Example:
    >>> agreed_checkpoint(RunFolder("runs/digits"), None) is None
    True
    """
    step = int(gather(_NONE if found is None else found.step)[0])
    if is_writer():
        return found
    return (
        None
        if step == _NONE
        else load_checkpoint(run.checkpoints / f"step-{step:09d}", run.run_id())
    )


def _digest(content: Any) -> np.ndarray:
    text = json.dumps(content, sort_keys=True)
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), "<i4").astype("int32")
