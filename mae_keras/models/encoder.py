"""Transformer encoders: of the tokens of any inputs, and of images."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mae_keras.arguments import (
    LARGEST_DEPTH,
    LARGEST_WIDTH,
    check_choice,
    check_epsilon,
    check_int,
    check_number,
    check_parameters,
    check_pooling,
)
from mae_keras.layers import TransformerBlock
from mae_keras.models.checks import check_called, check_shape
from mae_keras.models.inputs import Inputs, PatchInputs
from mae_keras.models.pretrained import check_kind_of_weights, load_pretrained
from mae_keras.ops import gather_patches
from mae_keras.runtime.traced_checks import check_traced


@keras.saving.register_keras_serializable(package="mae_keras")
class TransformerEncoder(keras.Model):
    """Transformer over the tokens of samples of any kind, which its inputs know.

    Args:
        inputs: `Inputs`, which turn raw samples into rows, one for every token.
        hidden_dim: int, features per token.
        num_layers: int, transformer blocks.
        num_heads: int, attention heads, must divide `hidden_dim`.
        mlp_dim: int, hidden units of each block's MLP, or `None`: `4 * hidden_dim`.
        use_class_token: bool, whether a learned token is put first. Defaults to `True`.
        drop_path_rate: float in [0, 1), stochastic depth of the last block, growing linearly from
            0 at the first. Defaults to `0.0`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        position_embedding: `"sincos"` (the paper's) or `"learned"`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: tensor `(batch, *sample_shape)` of raw samples.
        patch_mask: bool `(batch, num_tokens)`, `True` = hidden (not attended to), or `None`.
        training: bool, whether paths are dropped.

    Returns:
        Tensor `(batch, [1 +] num_tokens, hidden_dim)`, class token first. Tokens at hidden
        positions are meaningless.

    Raises:
        TypeError: if `inputs` are no `Inputs`.
        ValueError: if heads do not divide the features.

    Example:
    >>> import numpy as np
    >>> from mae_keras.models import PatchInputs
    >>> encoder = TransformerEncoder(PatchInputs((8, 8, 1), 2), 16, num_layers=1, num_heads=2)
    >>> tuple(encoder(np.zeros((1, 8, 8, 1), "uint8")).shape)
    (1, 17, 16)
    """

    def __init__(
        self,
        inputs: Inputs,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int | None = None,
        use_class_token: bool = True,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        position_embedding: str = "sincos",
        **kwargs: Any,
    ):
        super().__init__(**{"autocast": False, **kwargs})
        if not isinstance(inputs, Inputs):
            raise TypeError(f"`inputs` must be Inputs. Received: {type(inputs).__name__}")
        inputs = inputs.from_config(inputs.get_config())  # `adapt` changes this encoder alone
        # Not `self.inputs`: Keras takes that for the tensors of a functional model.
        self.sample_inputs = inputs
        self.image_shape = inputs.sample_shape
        self.grid = inputs.grid
        self.hidden_dim, self.num_layers, self.num_heads, self.mlp_dim = check_sizes(
            hidden_dim, num_layers, num_heads, mlp_dim
        )
        check_parameters(
            (inputs.num_tokens + inputs.row_dim) * self.hidden_dim,
            **inputs.sizes,
            hidden_dim=self.hidden_dim,
        )
        self.use_class_token = use_class_token
        self.drop_path_rate = check_number("drop_path_rate", drop_path_rate, 0, 1, below=True)
        self.layer_norm_epsilon = check_epsilon("layer_norm_epsilon", layer_norm_epsilon)
        self.position_embedding = check_choice(
            "position_embedding", position_embedding, ("sincos", "learned")
        )
        self._make_layers()
        self.build((None, *inputs.sample_shape))

    def _make_layers(self) -> None:
        policy = self.dtype_policy
        inputs = self.sample_inputs
        for name, layer in inputs.layers.items():
            setattr(self, name, layer)
        self.patch_projection = inputs.embedding(
            self.hidden_dim, dtype=policy, name="patch_projection"
        )
        self.positions = inputs.positions(self.position_embedding, dtype=policy, name="positions")
        last = max(self.num_layers - 1, 1)
        self.blocks = [
            TransformerBlock(
                self.num_heads,
                self.mlp_dim,
                drop_path_rate=self.drop_path_rate * index / last,
                layer_norm_epsilon=self.layer_norm_epsilon,
                dtype=policy,
                name=f"block_{index}",
            )
            for index in range(self.num_layers)
        ]
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=policy, name="norm"
        )

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str]) -> "TransformerEncoder":
        """Load a trained encoder, to put layers of your own on it.

        Args:
            source: as for `MaskedAutoencoder.from_pretrained`: `"mnist"`, a run's folder, a
                published checkpoint, or a `.keras` file, of an encoder or of a model with one.

        Returns:
            Encoder, an instance of the class that this is called on.

        Raises:
            TypeError: if `source` is neither text nor a path.
            ValueError: if it cannot be loaded, or holds no such encoder.

        Example:
        >>> ViTEncoder.from_pretrained("mnist").grid
        (7, 7)
        """
        model = load_pretrained(source, "encoder")
        encoder = getattr(model, "encoder", model)
        check_kind_of_weights(encoder, cls, source)
        return encoder

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        inputs = self.sample_inputs
        tokens = (None, inputs.num_tokens, self.hidden_dim)
        for layer in inputs.layers.values():
            layer.build((None, *inputs.sample_shape))
        self.patch_projection.build((None, inputs.num_tokens, inputs.row_dim))
        for layer in (self.positions, *self.blocks, self.norm):
            layer.build(tokens)
        if self.use_class_token:
            self.class_token = self.add_weight(
                shape=(1, 1, self.hidden_dim),
                initializer=keras.initializers.RandomNormal(stddev=0.02),
                name="class_token",
            )
        self.built = True

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens that stand before those of the patches: 1 with a class token, else 0."""
        return int(self.use_class_token)

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalized patches without NaN, and which of them are missing.

        Args:
            images: tensor `(batch, *spatial, channels)` of pixels.

        Returns:
            float32 `(batch, num_patches, patch_dim)`; bool `(batch, num_patches)` or `None` when
            the dtype has no NaN.
        """
        return self.sample_inputs.rows(images)

    def encode_patches(
        self,
        patches: Any,
        hidden: Any = None,
        indices: Any = None,
        grid: Sequence[int] | None = None,
        training: bool = False,
    ) -> Any:
        """Encode patches, all of them or only some.

        Args:
            patches: float32 tensor `(batch, num_patches, patch_dim)`, normalized, without NaN.
            hidden: bool `(batch, num_patches)`, patches not to attend to, or `None`.
            indices: int `(batch, num_visible)`, the patches to encode, or `None`: all. The others
                cost nothing.
            grid: ints or `None`, patches per axis if not the encoder's own.
            training: bool, whether paths are dropped.

        Returns:
            Tensor `(batch, [1 +] num_encoded, hidden_dim)`.
        """
        tokens, attended = self._embed(patches, hidden, indices, grid)
        for block in self.blocks:
            tokens = block(tokens, attention_mask=attended, training=training)
        return self.norm(tokens)

    def encode_blocks(
        self,
        patches: Any,
        hidden: Any = None,
        grid: Sequence[int] | None = None,
        training: bool = False,
        num_frozen: int = 0,
        num_blocks: int | None = None,
    ) -> list[Any]:
        """Encode patches and keep what every block makes of them, for probes and dense heads.

        Args:
            patches: float32 tensor `(batch, num_patches, patch_dim)`, normalized, without NaN.
            hidden: bool `(batch, num_patches)`, patches not to attend to, or `None`.
            grid: ints or `None`, patches per axis if not the encoder's own.
            training: bool, whether paths are dropped.
            num_frozen: int, first blocks that drop none. Defaults to `0`.
            num_blocks: int, how many blocks to run, or `None`: all.

        Returns:
            `num_layers + 1` tensors `(batch, [1 +] num_patches, hidden_dim)`, or `num_blocks + 1`:
            the embedded patches, then the tokens after each block. Those after the encoder's last
            block are what `encode_patches` gives, final norm included.
        """
        tokens, attended = self._embed(patches, hidden, grid=grid)
        outputs = [tokens]
        for index, block in enumerate(self.blocks[:num_blocks]):
            dropping = training and index >= num_frozen
            outputs.append(block(outputs[-1], attention_mask=attended, training=dropping))
        if num_blocks not in (None, self.num_layers):
            return outputs
        return [*outputs[:-1], self.norm(outputs[-1])]

    def _embed(
        self, patches: Any, hidden: Any, indices: Any = None, grid: Sequence[int] | None = None
    ) -> tuple[Any, Any]:
        """Tokens that enter the first block, and which may be attended to (`None`: all)."""
        if indices is not None:
            patches = gather_patches(patches, indices)
            if hidden is not None:
                hidden = gather_patches(hidden[..., None], indices)[..., 0]
        tokens = self.sample_inputs.embed(self.patch_projection, patches, indices)
        tokens = self.positions(tokens, indices=indices, grid=grid)
        attended = None if hidden is None else ops.logical_not(hidden)
        if self.use_class_token:
            return self._with_class_token(tokens, attended)
        return tokens, attended

    def _with_class_token(self, tokens: Any, attended: Any) -> tuple[Any, Any]:
        batch = ops.shape(tokens)[0]
        token = ops.cast(ops.convert_to_tensor(self.class_token), tokens.dtype)
        token = ops.broadcast_to(token, (batch, 1, self.hidden_dim))
        if attended is not None:
            attended = ops.concatenate([ops.ones((batch, 1), dtype="bool"), attended], axis=1)
        return ops.concatenate([token, tokens], axis=1), attended

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            inputs = self.sample_inputs
            images = check_called(args[0], inputs.any_size, inputs.value_range)
            args = (images, *args[1:])
        return super().__call__(*args, **kwargs)

    def call(self, images: Any, patch_mask: Any = None, training: bool = False) -> Any:
        inputs = self.sample_inputs
        check_shape(images.shape, inputs.any_size)
        images = check_traced(images, inputs.value_range)
        patches, missing = self.to_patches(images)
        grid = inputs.grid_of(images.shape[1:])
        hidden = join_masks(patch_mask, missing)
        return self.encode_patches(patches, hidden=hidden, grid=grid, training=training)

    def train_last_blocks(self, num_blocks: int | None, num_used: int | None = None) -> int:
        """Say which part is trained; the norm after the blocks is left as it is.

        Args:
            num_blocks: int, the last so many blocks are trained and nothing before them, or
                `None`: everything.
            num_used: int, how many blocks are used, of which the last ones count, or `None`: all.
                Others are not trained.

        Returns:
            How many blocks stay as they are before those that are trained.

        Raises:
            ValueError: if there are not so many blocks.

        Example:
        >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=3, num_heads=2)
        >>> encoder.train_last_blocks(1)
        2
        """
        num_used = self.num_layers if num_used is None else num_used
        limited = num_blocks is not None
        if limited and (not hasattr(num_blocks, "__index__") or not 0 <= num_blocks <= num_used):
            raise ValueError(
                f"`num_blocks` (`train_blocks`) must be an int from 0 to the encoder's "
                f"{num_used} blocks{'' if num_used == self.num_layers else ' that are used'}, or "
                f"None for everything. Received: {num_blocks!r}"
            )
        num_frozen = num_used - int(num_blocks) if limited else 0
        for layer in (self.patch_projection, self.positions):
            layer.trainable = not limited
        if self.use_class_token:
            self.class_token.trainable = not limited
        for index, block in enumerate(self.blocks):
            block.trainable = num_frozen <= index < num_used
        return num_frozen

    def check_pooling(self, pooling: Any) -> str | tuple[str, int] | None:
        """Refuse a pooling that this encoder's tokens do not have; see `pool`."""
        pooling = check_pooling(pooling, optional=True)
        if pooling == "token" and not self.use_class_token:
            raise ValueError(
                "`pooling='token'` needs an encoder with a class token; this one was built "
                "with use_class_token=False. Received: pooling='token'"
            )
        rank = len(self.sample_inputs.grid)
        if isinstance(pooling, tuple) and pooling[1] >= rank:
            raise ValueError(
                f"`pooling` must name an axis of the grid of patches, 0 to {rank - 1}. "
                f"Received: pooling={pooling!r}"
            )
        return pooling

    def num_features(self, pooling: Any) -> int:
        """How many features `pool` gives of each sample, for all poolings but `None`."""
        places = 1
        if pooling == "flatten":
            places = self.sample_inputs.num_tokens
        elif isinstance(pooling, tuple):
            places = self.sample_inputs.num_tokens // self.sample_inputs.grid[pooling[1]]
        return places * self.hidden_dim

    def pool(self, tokens: Any, pooling: Any, hidden: Any = None) -> Any:
        """Reduce tokens to features, one row for each sample.

        Args:
            tokens: tensor `(batch, [1 +] num_patches, hidden_dim)`.
            pooling: `"mean"` over patch tokens; `"token"` for the class token; `"flatten"` for the
                patch tokens side by side; `("mean", axis)` for their mean over one axis of the
                grid, what remains side by side; `None` for `tokens` as they are.
            hidden: bool `(batch, num_patches)`, patches left out of means, and 0 where patches are
                side by side; or `None`.

        Returns:
            Tensor `(batch, num_features)`: `hidden_dim` of them for each place that is left; or
            `tokens`.

        Raises:
            ValueError: if `pooling` is unknown, `"token"` without a class token, or names an axis
                that the grid does not have.
        """
        pooling = self.check_pooling(pooling)
        if pooling is None:
            return tokens
        if pooling == "token":
            return tokens[:, 0]
        tokens = tokens[:, self.num_prefix_tokens :]
        kept = None
        if hidden is not None:
            kept = ops.cast(ops.logical_not(hidden), tokens.dtype)[..., None]
        if pooling == "mean":
            return _mean(tokens, kept, axis=1)
        if pooling != "flatten":
            grid = self.sample_inputs.grid
            if tokens.shape[1] != math.prod(grid):
                raise ValueError(
                    f"`pooling` over an axis is for samples of the encoder's own size, "
                    f"{math.prod(grid)} patches. Received: pooling={pooling!r}, "
                    f"{tokens.shape[1]} patches"
                )
            tokens = ops.reshape(tokens, (-1, *grid, self.hidden_dim))
            kept = None if kept is None else ops.reshape(kept, (-1, *grid, 1))
            tokens = _mean(tokens, kept, axis=1 + pooling[1])
        elif kept is not None:
            tokens = tokens * kept
        return ops.reshape(tokens, (-1, math.prod(tokens.shape[1:])))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        batch, *sample_shape = input_shape
        num_tokens = math.prod(self.sample_inputs.grid_of(sample_shape))
        return batch, num_tokens + self.num_prefix_tokens, self.hidden_dim

    def get_config(self) -> dict[str, Any]:
        own = {
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "use_class_token": self.use_class_token,
            "drop_path_rate": self.drop_path_rate,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "position_embedding": self.position_embedding,
        }
        return {**super().get_config(), **self._inputs_config(), **own}

    def _inputs_config(self) -> dict[str, Any]:
        return {"inputs": keras.saving.serialize_keras_object(self.sample_inputs)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        if isinstance(config.get("inputs"), dict):
            inputs = keras.saving.deserialize_keras_object(config["inputs"], custom_objects)
            config = {**config, "inputs": inputs}
        return cls(**config)


def _mean(tokens: Any, kept: Any, axis: int) -> Any:
    """Mean over an axis, of the tokens whose `kept` is 1; without any, 0."""
    if kept is None:
        return ops.mean(tokens, axis=axis)
    return ops.sum(tokens * kept, axis=axis) / ops.maximum(ops.sum(kept, axis=axis), 1.0)


@keras.saving.register_keras_serializable(package="mae_keras")
class ViTEncoder(TransformerEncoder):
    """Vision transformer over the patches of an image, normalization included.

    Takes pixels as stored and gives tokens. Other image sizes than `image_shape` are accepted as
    long as the patches divide them: positions are then computed, or interpolated when learned.

    Args:
        image_shape: ints `(*spatial, channels)`, one to three spatial axes, in pixels.
        patch_size: int, or one int per spatial axis, in pixels.
        hidden_dim: int, features per token.
        num_layers: int, transformer blocks.
        num_heads: int, attention heads, must divide `hidden_dim`.
        mlp_dim: int, hidden units of each block's MLP, or `None`: `4 * hidden_dim`.
        use_class_token: bool, whether a learned token is put first. Defaults to `True`.
        drop_path_rate: float in [0, 1), stochastic depth of the last block, growing linearly from
            0 at the first. Defaults to `0.0`.
        layer_norm_epsilon: float. Defaults to `1e-6`.
        position_embedding: `"sincos"` (the paper's) or `"learned"`.
        value_range: two floats, pixel values that mean black and white, or `None`. Defaults to
            `(0, 255)`.
        mean: float, or one per channel, in units of [0, 1]; `adapt` computes it. Defaults to
            `None`: 0.
        std: like `mean`, positive. Defaults to `None`: 1.
        preprocessing: dict that JSON can hold, of what made the samples, such as
            `{"log_mel": {...}}` for sound; kept with the encoder, not applied. Defaults to `None`.
        standardize: `"sample"` also standardizes every channel of every sample by its own mean
            and standard deviation; see `PatchInputs`. Defaults to `None`.
        per_channel: bool, whether each channel of a patch is a token of its own; the channels are
            then the last axis of the grid. See `PatchInputs`. Defaults to `False`.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        images: tensor `(batch, *spatial, channels)`, pixels in `value_range`; NaN means missing,
            and a patch holding one is not attended to.
        patch_mask: bool `(batch, num_patches)`, `True` = hidden (not attended to), or `None`.
        training: bool, whether paths are dropped.

    Returns:
        Tensor `(batch, [1 +] num_patches, hidden_dim)`, class token first. Tokens at hidden
        positions are meaningless.

    Raises:
        ValueError: if patches do not divide the image, or heads the features.

    Example:
    >>> import numpy as np
    >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
    >>> tuple(encoder(np.zeros((1, 8, 8, 1), "uint8")).shape)
    (1, 17, 16)

    References:
        - Dosovitskiy et al. 2020, arXiv:2010.11929; He et al. 2021, arXiv:2111.06377, appendix A.
        - Numerics: facebookresearch/mae `models_mae.py` (encoder); patches are projected by a
          dense layer, which equals its strided convolution.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        patch_size: int | Sequence[int],
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int | None = None,
        use_class_token: bool = True,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        position_embedding: str = "sincos",
        value_range: Sequence[float] | None = (0, 255),
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        standardize: str | None = None,
        per_channel: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            PatchInputs(
                image_shape,
                patch_size,
                value_range,
                mean,
                std,
                preprocessing,
                standardize,
                per_channel,
            ),
            hidden_dim,
            num_layers,
            num_heads,
            mlp_dim,
            use_class_token,
            drop_path_rate,
            layer_norm_epsilon,
            position_embedding,
            **kwargs,
        )
        self.patch_size = self.sample_inputs.patch_size

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """What made the samples that the encoder was trained on, as given, or `None`."""
        return self.sample_inputs.preprocessing

    def adapt(self, images: Any) -> None:
        """Set the constants by which the encoder normalizes to those of images, before training.

        Computes the mean and standard deviation of each channel, in float64 and one batch at a
        time; they are saved with the encoder. Missing pixels (NaN) are left out.

        Args:
            images: array `(num_images, *spatial, channels)` of pixels as stored, or a finite
                dataset of batches, with or without labels.

        Raises:
            TypeError, ValueError: if the images do not fit the encoder, or it was compiled with
                other constants.

        Example:
        >>> import numpy as np
        >>> encoder = ViTEncoder((8, 8, 1), 2, hidden_dim=16, num_layers=1, num_heads=2)
        >>> encoder.adapt(np.arange(128, dtype="uint8").reshape(2, 8, 8, 1))
        >>> encoder.normalization.mean == [63.5 / 255]
        True
        """
        self.sample_inputs.adapt(images)

    def _inputs_config(self) -> dict[str, Any]:
        return self.sample_inputs.get_config()


def check_sizes(
    hidden_dim: Any, num_layers: Any, num_heads: Any, mlp_dim: Any
) -> tuple[int, int, int, int]:
    """The sizes of a transformer as ints; refuses what does not fit, or would fit no machine."""
    hidden_dim = check_int("hidden_dim", hidden_dim, 1, LARGEST_WIDTH)
    num_layers = check_int("num_layers", num_layers, 0, LARGEST_DEPTH)
    num_heads = check_int("num_heads", num_heads, 1, LARGEST_WIDTH)
    mlp_dim = check_int("mlp_dim", mlp_dim, 1, LARGEST_WIDTH, optional=True)
    mlp_dim = 4 * hidden_dim if mlp_dim is None else mlp_dim
    if hidden_dim % num_heads:
        raise ValueError(
            f"`num_heads` must divide `hidden_dim`. Received: num_heads={num_heads}, "
            f"hidden_dim={hidden_dim}"
        )
    check_parameters(
        num_layers * hidden_dim * (4 * hidden_dim + 2 * mlp_dim),
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        mlp_dim=mlp_dim,
    )
    return hidden_dim, num_layers, num_heads, mlp_dim


def join_masks(first: Any, second: Any) -> Any:
    """Hidden by either of two masks, each of which may be `None`."""
    if first is None or second is None:
        return first if second is None else second
    return ops.logical_or(ops.cast(first, "bool"), second)
