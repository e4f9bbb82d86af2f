"""The end of a run that trained a model on labels: what is written once it is trained."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from mae_keras import figures
from mae_keras.models.exporting import check_backend
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.resuming import Interrupted


def save_model(model: Any, run: RunFolder, what: str) -> None:
    """Write a trained model into its run's folder.

    Args:
        model: what was trained.
        run: `RunFolder`, locked.
        what: what messages call the model, such as `"classifier"`.

    Raises:
        OSError: if it cannot be written.
    """
    run.check_held()
    try:
        model.save(run.model)
    except (OSError, RuntimeError) as error:  # as h5py says it
        raise OSError(
            f"The {what} could not be written to {str(run.model)!r} ({error}). Make room and "
            f"train it again with --overwrite"
        ) from error


@contextlib.contextmanager
def finished_model(run: RunFolder, what: str) -> Iterator[None]:
    """Whatever ends what comes after training says where the model is.

    Args:
        run: `RunFolder` with the model.
        what: what messages call the model.
    """
    where = f"the trained {what} is {run.model}"
    if what == "classifier":
        where += f"; `mae-keras evaluate {run.path}` scores it"
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"{stopped_by(error)} after training; {where}") from error
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{error}. But {where}") from error


def stopped_by(error: BaseException) -> str:
    """What an interruption is called in a message.

    Args:
        error: `KeyboardInterrupt`, with the name of a signal or without.

    Returns:
        str.
    """
    return f"stopped by {error}" if str(error) else "interrupted"


def attempt(announce: Callable[[str], Any], what: str, make: Callable[..., Any], *args: Any):
    """Write something that may fail without stopping what follows.

    Args:
        announce: called with a line about a failure.
        what: what is written, in words.
        make: function that writes it.
        *args: its arguments.
    """
    try:
        make(*args)
    except Exception as error:  # whatever it is, it is worth less than what follows
        announce(f"{what} could not be written: {error}")


def draw_loss(run: RunFolder) -> None:
    """Draw the losses of a run's history.

    Args:
        run: `RunFolder`.
    """
    history = run.read_history()
    if history:  # empty where a callback ended training within the first epoch
        figures.save_figure(figures.loss_figure(history), run.loss_picture)


def export_beside(model: Any, run: RunFolder, announce: Callable[[str], Any]) -> None:
    """Write a SavedModel into a run's folder, where the backend can.

    Args:
        model: what was trained.
        run: `RunFolder`.
        announce: called with a line where it cannot.
    """
    try:
        check_backend()
    except ValueError as error:
        announce(f"No SavedModel was written. {error}")
    else:
        model.export(run.saved_model)
