"""Whether a model is compiled by XLA: decided by measurement, once, here."""

import warnings
from typing import Any

import keras

from mae_keras.branches import branched, possible_branches
from mae_keras.layers.compiled_pieces import compiled_pieces
from mae_keras.replicas import num_replicas

# Measured on 2 CPU cores (docs/performance.md), against XLA for pieces alone: in float32 XLA for
# all gains less the wider the model and the more tokens an image has, and loses from here on; in
# bfloat16, which it emulates on CPUs, it always loses. The second is a stand-in for the size of a
# model's arrays, width times tokens: no array need have just that size.
LARGEST_XLA_CPU_DIM = 384
LARGEST_XLA_CPU_IMAGE = 2**15


class CompiledAsAsked:
    """Mixin of models that decide about XLA and keep in files what was asked of it.

    To stand before `keras.Model`, in models that have `_width`, that of their matrix products.
    """

    # Tokens of an image, where there are most of them; 1 without a transformer.
    num_tokens = 1
    # In how many parts a step computes its batch, each on a core: `mae_keras.branches`.
    num_branches = 1
    _compiles_pieces = False

    def compile(self, *args: Any, jit_compile: bool | str, **kwargs: Any) -> None:
        """As `keras.Model.compile`; `jit_compile="auto"` becomes what measured faster."""
        self._requested_jit = jit_compile
        if kwargs.get("run_eagerly") and jit_compile == "auto":
            jit_compile = False
        chosen = resolve_jit_compile(jit_compile, self._width, self.compute_dtype, self.num_tokens)
        super().compile(*args, jit_compile=chosen, **kwargs)
        self.num_branches = self._branches_now()
        left_to_tensorflow = jit_compile == "auto" and not chosen
        self._compiles_pieces = left_to_tensorflow and _has_pieces(self)

    @property
    def xla(self) -> str:
        """What XLA compiles of a training step: `"all"`, `"pieces"` or `"nothing"`.

        Pieces are what lies between a block's matrix products (`layers.compiled_pieces`): on a CPU,
        where `"auto"` left the products to TensorFlow.
        """
        if self.jit_compile:
            return "all"
        return "pieces" if self._compiles_pieces else "nothing"

    def train_step(self, *args: Any) -> Any:
        """As in Keras."""
        with compiled_pieces(self.xla == "pieces"), branched(self.num_branches):
            return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        """As in Keras."""
        with branched(self.num_branches):
            return super().test_step(*args)

    def predict_step(self, *args: Any) -> Any:
        """As in Keras."""
        with branched(self._branches_now()):  # which works uncompiled as well
            return super().predict_step(*args)

    def _branches_now(self) -> int:
        return 1 if self.jit_compile or self.run_eagerly else branches_here()

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras; keeps `"auto"`, which may mean something else where the model is loaded."""
        config = super().get_compile_config()
        return {**config, "jit_compile": self._requested_jit} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as saved, optimizer state included."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)


def resolve_jit_compile(
    jit_compile: bool | str, hidden_dim: int, compute_dtype: str, num_tokens: int = 1
) -> bool:
    """Turn `jit_compile="auto"` into the choice that measured faster.

    Keras's own "auto" never uses XLA on a CPU. TensorFlow cannot compile what its replicas do
    together: under a strategy "auto" is False.

    Args:
        jit_compile: bool, kept as it is, or `"auto"`.
        hidden_dim: int, width of the model's matrix products.
        compute_dtype: str, the dtype policy's compute dtype.
        num_tokens: int, tokens of an image where there are most of them.

    Returns:
        bool.

    Raises:
        ValueError: if `jit_compile` is neither a bool nor `"auto"`, or is True under a
            `tf.distribute` strategy with several replicas.

    Example:
    >>> resolve_jit_compile(True, 64, "float32")
    True
    """
    if isinstance(jit_compile, bool):
        if jit_compile and _replicated():
            raise ValueError(
                "`jit_compile` must be 'auto' or False on several TensorFlow replicas: XLA cannot "
                "compile what they do together. Received: jit_compile=True"
            )
        return jit_compile
    if jit_compile != "auto":
        raise ValueError(
            f"`jit_compile` must be True, False or 'auto'. Received: jit_compile={jit_compile!r}"
        )
    backend = keras.backend.backend()
    if backend == "jax":
        return True
    if backend != "tensorflow" or _distributed():
        return False
    if _on_accelerator():
        return True
    narrow = hidden_dim <= LARGEST_XLA_CPU_DIM
    small = hidden_dim * num_tokens <= LARGEST_XLA_CPU_IMAGE
    whole = possible_branches() == 1  # or XLA's products would have one thread, and no branches
    return compute_dtype == "float32" and narrow and small and whole


def branches_here() -> int:
    """How many branches what XLA does not compile has, on the devices in use."""
    return 1 if _elsewhere() else possible_branches()


def _has_pieces(model: Any) -> bool:
    """Whether a model has pieces to compile, and may: in float64 they would lose precision."""
    if _elsewhere():
        return False
    precise = model.compute_dtype not in ("float32", "bfloat16", "float16")
    return model.num_tokens > 1 and not precise and _keras_allows_xla(model)


def _keras_allows_xla(model: Any) -> bool:
    """Keras refuses XLA under deterministic operations, for one; its setter alone tells."""
    chosen = model.jit_compile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.jit_compile = True
    allowed, model.jit_compile = model.jit_compile, chosen
    return bool(allowed)


def _elsewhere() -> bool:
    """Whether training runs elsewhere than on TensorFlow on one machine's processor."""
    return keras.backend.backend() != "tensorflow" or _distributed() or _on_accelerator()


def _on_accelerator() -> bool:
    return any("gpu" in name or "tpu" in name for name in map(str.lower, _devices()))


def _devices() -> list[str]:
    devices: Any = keras.distribution.list_devices()
    return [str(device) for device in devices]


def _distributed() -> bool:
    return keras.distribution.distribution() is not None or _replicated()


def _replicated() -> bool:
    return keras.backend.backend() == "tensorflow" and num_replicas() > 1
