"""The step, the batches and the budget of differentially private training.

A step masks, predicts and differentiates one sample at a time, by `runtime.sample_gradients`: what
is computed for a sample cannot depend on others, whatever the model, target or masking.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.models.batch_checks import BatchCheck, checked_batches
from mae_keras.models.checks import is_array
from mae_keras.models.privacy import Privacy
from mae_keras.runtime.sample_gradients import clipped_gradient_sum, gaussian_noise

EPSILON, PRIVATE_STEPS = "epsilon", "private_steps"
# Where the values of each kind of variables are in JAX's state.
_TRAINABLE, _OTHER, _OPTIMIZER, _METRICS = range(4)


def private_train_step(model: Any, args: Sequence[Any]) -> Any:
    """A step of DP-SGD in place of `keras.Model.train_step`.

    Args:
        model: `MaskedModel` compiled with `privacy`.
        args: (data,), or JAX's (state, data); data is images `(padded_batch_size, ...)` and the
            numbers of these samples, -1 for padding at the end.

    Returns:
        As `keras.Model.train_step`.
    """
    *state, data = args
    if state:
        return _pure_step(model, state[0], data)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    values = [variable.value for variable in model.trainable_variables]
    gradients, loss = _private_gradients(model, values, [], data)
    model.masking.advance()
    model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    if model.privacy.report_loss:
        model._loss_tracker.update_state(*loss)
    return model.get_metrics_result()


def _pure_step(model: Any, state: Sequence[Any], data: Any) -> Any:
    trainable, other, optimizer, metrics = state
    mapping = list(zip(model.non_trainable_variables, other, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        gradients, loss = _private_gradients(model, trainable, mapping, data)
        model.masking.advance()
    other = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
    trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
    mapping = list(zip(model.metrics_variables, metrics, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        if model.privacy.report_loss:
            model._loss_tracker.update_state(*loss)
        logs = model.get_metrics_result()
    metrics = [scope.get_current_value(variable) for variable in model.metrics_variables]
    return logs, (trainable, other, optimizer, metrics)


def _private_gradients(
    model: Any, values: Sequence[Any], others: list[tuple[Any, Any]], data: Any
) -> tuple[list[Any], Any]:
    """Gradients with noise; and mean and number of the losses, without any."""
    privacy: Privacy = model.privacy
    images, numbers, _ = keras.utils.unpack_x_y_sample_weight(data)
    size = privacy.padded_batch_size
    batch = {
        "images": ops.reshape(images, (size, *model.image_shape)),
        "numbers": ops.reshape(ops.cast(numbers, "int32"), (size,)),
    }
    count = ops.sum(ops.cast(batch["numbers"] >= 0, "int32"))
    step = ops.convert_to_tensor(model.micro_step)

    def loss_of(values: Sequence[Any], sample: Any) -> Any:
        masked = model._masked_batch(sample["images"], step + 1, samples=sample["numbers"])
        weights = list(zip(model.trainable_variables, values, strict=True))
        return _loss(model, [*weights, *others], masked)

    sums, total = clipped_gradient_sum(
        loss_of, values, batch, count, privacy.micro_batch_size, privacy.max_grad_norm
    )
    stddev = privacy.noise_multiplier * privacy.max_grad_norm
    noise = gaussian_noise(privacy.key, step, [part.shape for part in sums], stddev)
    gradients = [
        ops.cast((part + added) / privacy.batch_size, value.dtype)
        for part, added, value in zip(sums, noise, values, strict=True)
    ]
    count = ops.cast(count, "float32")
    return gradients, (total / ops.maximum(count, 1.0), count)


def _loss(model: Any, mapping: list[tuple[Any, Any]], masked: tuple[Any, Any, Any]) -> Any:
    """The training loss of masked samples with these values of the weights."""
    x, y, weights = masked
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
        predictions = model(x, training=True)
        return model.compute_loss(x, y, predictions, weights, training=True)


def private_fit_input(model: Any, x: Any, y: Any, options: dict[str, Any]) -> tuple:
    """What `fit` is given, as batches drawn by Poisson sampling.

    Args:
        model: `MaskedModel` compiled with `privacy`.
        x: array of images, or a dataset of (images, numbers) such as `data.poisson_batches` gives.
        y: labels, which are ignored.
        options: the other arguments of `fit`, by name.

    Returns:
        Batches, `None`, options, and a list of checks.

    Raises:
        ValueError: if the batches would not be those that are accounted for.
    """
    privacy: Privacy = model.privacy
    options = dict(options)
    for name in ("sample_weight", "class_weight", "validation_split"):
        value = options.get(name)
        if value is not None and (name != "validation_split" or value):
            raise ValueError(
                f"`{name}` must be left out with `privacy`: every sample is drawn with the same "
                f"probability and counts alike. Received: {name} of type {type(value).__name__}"
            )
    if options.get("batch_size") not in (None, privacy.batch_size):
        raise ValueError(
            f"`batch_size` must be that of `privacy`, {privacy.batch_size}, or left out. "
            f"Received: batch_size={options['batch_size']}"
        )
    x, _, _ = model._checked_arrays(x, None, None)
    checks = model._check_validation(options)
    options["shuffle"] = False
    if is_array(x):
        if len(x) != privacy.num_samples:
            raise ValueError(
                f"`images` must be as many as `privacy` accounts for, num_samples="
                f"{privacy.num_samples}. Received: {len(x)} images"
            )
        if options.get("steps_per_epoch") is None:
            options["steps_per_epoch"] = max(1, privacy.num_samples // privacy.batch_size)
        options["batch_size"] = None
        batches = privacy.batches(ops.convert_to_numpy(x), _steps_taken(model))
        return batches, None, options, checks
    return _checked_dataset(model, x), None, options, checks


def _checked_dataset(model: Any, x: Any) -> Any:
    spec = getattr(x, "element_spec", None)
    size = model.privacy.padded_batch_size
    fits = isinstance(spec, tuple) and len(spec) == 2 and spec[1].shape.as_list() == [size]
    if not fits or not spec[1].dtype.is_integer:
        raise ValueError(
            "`images` must be an array, or batches of `data.poisson_batches`, with `privacy`: "
            "shuffled batches are not what is accounted for. Received: "
            f"{type(x).__name__}{'' if spec is None else f' of {spec}'}"
        )
    check = BatchCheck(model.image_shape, model.value_range, passes_labels=True)
    return checked_batches(x, check)


def _steps_taken(model: Any) -> int:
    return int(ops.convert_to_numpy(model.micro_step))


class PrivacyBudget(keras.callbacks.Callback):
    """Adds epsilon to the logs of each epoch, and ends training before the budget is exceeded."""

    def __init__(self, privacy: Privacy) -> None:
        super().__init__()
        self.privacy = privacy
        self.steps = 0
        self._most: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        with contextlib.suppress(AttributeError):  # JAX keeps them apart between steps
            self.model.jax_state_sync()
        self.steps = self.privacy.spent_steps(_steps_taken(self.model))
        self._most = self.privacy.max_steps
        if self._most is not None and self.steps >= self._most:
            raise ValueError(
                f"`privacy` must have budget left: {self.steps:,} steps have spent epsilon "
                f"{self.privacy.epsilon(self.steps):.3g}. Received: target_epsilon="
                f"{self.privacy.target_epsilon}, which holds {self._most:,} steps"
            )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self._most is not None and self.steps >= self._most:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs[PRIVATE_STEPS] = float(self.steps)
            logs[EPSILON] = self.privacy.epsilon(self.steps)
