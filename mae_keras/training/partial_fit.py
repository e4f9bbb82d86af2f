"""Training from any step on, in the middle of an epoch too."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras


def fit_from(
    model: keras.Model,
    batches: Callable[[int, int], Any],
    *,
    epochs: int,
    steps_per_epoch: int,
    first_epoch: int = 0,
    first_step: int = 0,
    **options: Any,
) -> None:
    """`fit` from a step in the middle of an epoch as if training had never stopped.

    The rest of the begun epoch is one call of `fit` and the whole epochs are another. Callbacks
    therefore see training begin twice; those that average or save at its end must know that.

    Args:
        model: compiled `keras.Model`, as it was at that step.
        batches: called with an epoch and a step in it, both from 0; gives the dataset from there
            on, which must not end before training does.
        epochs: int, the epoch to end at.
        steps_per_epoch: int.
        first_epoch: int, whole epochs done.
        first_step: int, steps done of the epoch after them.
        **options: passed to `fit`, such as `callbacks` and `validation_data`.

    Raises:
        ValueError: if `first_step` is not below `steps_per_epoch`.

    Example:
    >>> import numpy as np
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> rows = [(np.ones((1, 2)), np.ones((1, 1)))] * 4
    >>> fit_from(
    ...     model, lambda epoch, step: (row for row in rows[step:]), epochs=1, steps_per_epoch=4,
    ...     first_step=3, shuffle=False, verbose=0,
    ... )
    >>> int(model.optimizer.iterations)
    1
    """
    if not 0 <= first_step < steps_per_epoch:
        raise ValueError(
            f"`first_step` must be at least 0 and less than `steps_per_epoch`. Received: "
            f"first_step={first_step}, steps_per_epoch={steps_per_epoch}"
        )
    model.stop_training = False
    if first_step and first_epoch < epochs:
        _build_metrics(model, lambda: batches(first_epoch, first_step))
        ends = first_epoch + 1 == epochs
        with contextlib.nullcontext() if ends else _not_averaging(model.optimizer):
            model.fit(
                batches(first_epoch, first_step),
                initial_epoch=first_epoch,
                epochs=first_epoch + 1,
                steps_per_epoch=steps_per_epoch - first_step,
                **options,
            )
        first_epoch += 1
    if first_epoch < epochs and not model.stop_training:
        model.fit(
            batches(first_epoch, 0),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            **options,
        )


def _build_metrics(model: keras.Model, batches: Callable[[], Any]) -> None:
    """Make the variables of compiled metrics, into which a callback puts what the epoch had.

    JAX and PyTorch do so before training; TensorFlow in the first step, which is too late.
    """
    metrics = getattr(model, "_compile_metrics", None)
    if keras.backend.backend() == "tensorflow" and metrics is not None and not metrics.built:
        model._symbolic_build(data_batch=next(iter(batches())))


@contextlib.contextmanager
def _not_averaging(optimizer: Any) -> Iterator[None]:
    """Keep `fit` from putting averaged weights in place at its end, which is not the run's."""
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
