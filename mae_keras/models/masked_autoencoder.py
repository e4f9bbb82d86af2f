"""The masked autoencoder: encoder, masking and decoder put together."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mae_keras.arguments import check_number, check_parameters, check_pooling
from mae_keras.layers import PatchMasking, RandomMasking
from mae_keras.layers.masking import make_masking
from mae_keras.losses import uniformity
from mae_keras.models.checks import check_shape
from mae_keras.models.decoders import (
    MAEDecoder,
    build_decoder,
    draw_decoded,
    find_decoder,
    num_decoded,
)
from mae_keras.models.encoder import TransformerEncoder, ViTEncoder, join_masks
from mae_keras.models.loading import from_versioned_config, with_version
from mae_keras.models.masked_model import MaskedModel
from mae_keras.models.presets import (
    fill_sizes,
    find_preset,
)
from mae_keras.models.pretrained import check_kind_of_weights, load_pretrained
from mae_keras.models.targets import (
    Pixels,
    StandardizedPixels,
    Target,
    TargetLoss,
    check_encoded,
    make_target,
)
from mae_keras.ops import as_image_shape, gather_patches
from mae_keras.registry import choose_target
from mae_keras.runtime.batch_shards import map_shards
from mae_keras.runtime.replicas import in_replica, joined


@keras.saving.register_keras_serializable(package="mae_keras")
class MaskedAutoencoder(MaskedModel):
    """Masked autoencoder: encode the visible patches, predict the hidden ones.

    Trained with `compile` and `fit` on images alone; `train_step` does the masking. Training
    gathers the visible patches (fast, a fixed number) and predicts those in the loss alone;
    inference takes any mask, hides by attention masking and predicts all. Both give the same
    result.

    Args:
        encoder: `ViTEncoder`, whose image shape, patches and normalization are the model's; or
            `TransformerEncoder` of other inputs.
        decoder: `MAEDecoder`, or `CrossAttentionDecoder`, which is cheaper.
        masking: `RandomMasking(0.75)` by default; another masking layer, or the name of one; or a
            float: the ratio of random masking.
        normalize_targets: bool, the same as `target="standardized"`. Defaults to `False`.
        loss_on: `"hidden"` patches (the paper's) or `"all"`.
        uniformity_weight: float, weight of `losses.uniformity` of the visible patches' mean
            token, added to the training loss (validation losses are without it). 0.01 helps
            linear probes; defaults to `0.0`.
        decode_ratio: float in (0, 1], fraction of the patches in the loss that a training step
            decodes, drawn anew in each; below 1 with a `CrossAttentionDecoder` only, whose
            predictions do not depend on each other. Validation decodes all of those. CrossMAE
            counts its share of all patches. Defaults to `1.0`.
        seed: int, seed of the masks when `masking` does not bring its own layer.
        target: what is predicted: `"pixels"`, the default; `"standardized"`, patches standardized
            each by its own mean and variance (the paper's norm_pix: better features, pictures
            need statistics from elsewhere); `"hog"`, histograms of oriented gradients (MaskFeat:
            no pictures); or a `Target`. Of tables `"table"`, their default.
        **kwargs: passed to `keras.Model`.

    Call arguments:
        inputs: images `(batch, *spatial, channels)`, pixels as stored. `train_step` and `test_step`
            pass a dict instead: `patches` and `patch_mask`, of all patches; `visible_indices`,
            those to encode; where pixels can be missing, `missing`; and, where not all are
            predicted, `decoded_indices`. What comes back are predictions of patches.
        training: bool.

    Returns:
        float32 tensor of the shape of the images: the prediction in pixels with nothing hidden.
        Where the target cannot be turned back into pixels, what is predicted for each patch,
        `(batch, num_patches, dim)`.

    Raises:
        ValueError: if the mask ratio hides no patch or all, `uniformity_weight` is negative,
            `decode_ratio` is out of range or needs another decoder, or there is no such target
            for these images.

    Example:
    >>> import numpy as np
    >>> model = MaskedAutoencoder.from_preset("nano", image_shape=(8, 8, 1), patch_size=2)
    >>> model.compile(optimizer="adamw")
    >>> images = np.random.default_rng(0).integers(0, 255, (16, 8, 8, 1)).astype("uint8")
    >>> history = model.fit(images, epochs=1, verbose=0)
    >>> model.encode(images).shape
    (16, 64)

    References:
        - He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377.
        - Zhang et al. 2022, arXiv:2210.08344 (`uniformity_weight`).
        - Fu et al. 2024, arXiv:2401.14391 (`CrossAttentionDecoder`, `decode_ratio`).
        - Numerics: facebookresearch/mae `models_mae.py`, through Hugging Face
          `ViTMAEForPreTraining`; any rank, channel count and rectangle here.
    """

    def __init__(
        self,
        encoder: TransformerEncoder,
        decoder: MAEDecoder,
        masking: PatchMasking | str | float | None = None,
        normalize_targets: bool = False,
        loss_on: str = "hidden",
        uniformity_weight: float = 0.0,
        decode_ratio: float = 1.0,
        seed: int | None = None,
        target: str | Target | None = None,
        **kwargs: Any,
    ):
        _check_part("encoder", encoder, TransformerEncoder)
        _check_part("decoder", decoder, MAEDecoder)
        uniformity_weight = check_number("uniformity_weight", uniformity_weight, 0)
        _check_decode_ratio(decode_ratio, decoder)
        _check_decoder_width(decoder, encoder.grid)
        if isinstance(masking, str):
            masking = make_masking(masking, None, seed)
        elif not isinstance(masking, PatchMasking):
            masking = RandomMasking(0.75 if masking is None else masking, seed, name="masking")
        super().__init__(
            encoder.image_shape,
            encoder.grid,
            masking,
            loss_on,
            max(encoder.hidden_dim, decoder.hidden_dim),
            math.prod(encoder.grid),
            **{"dtype": encoder.dtype_policy, **kwargs},
        )
        self.encoder = encoder
        self.decoder = decoder
        default = encoder.sample_inputs.default_target
        self.target = make_target(choose_target(target, normalize_targets, default))
        self.target.build(encoder.sample_inputs)
        check_parameters(self.target.dim * decoder.hidden_dim, target=self.target.name)
        self.uniformity_weight = float(uniformity_weight)
        self.decode_ratio = float(decode_ratio)
        if isinstance(encoder, ViTEncoder):
            single = (1,) if encoder.sample_inputs.per_channel else ()
            self.patch_size = (*encoder.patch_size, *single)  # along the axes of the grid
        self.head = keras.layers.Dense(self.target.dim, dtype=self.dtype_policy, name="head")
        self.build((None, *self.image_shape))

    @classmethod
    def from_preset(
        cls,
        name: str,
        image_shape: Sequence[int] = (28, 28, 1),
        patch_size: int | Sequence[int] = 4,
        *,
        mask_ratio: float | None = None,
        masking: str | PatchMasking = "random",
        seed: int | None = None,
        value_range: Sequence[float] | None = (0, 255),
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        hidden_dim: int | None = None,
        num_layers: int | None = None,
        num_heads: int | None = None,
        mlp_dim: int | None = None,
        use_class_token: bool = True,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        position_embedding: str = "sincos",
        decoder_hidden_dim: int | None = None,
        decoder_num_layers: int | None = None,
        decoder_num_heads: int | None = None,
        decoder_mlp_dim: int | None = None,
        decoder_layer_norm_epsilon: float = 1e-6,
        decoder_attention: str = "self",
        normalize_targets: bool = False,
        loss_on: str = "hidden",
        uniformity_weight: float = 0.0,
        decode_ratio: float = 1.0,
        dtype: Any = None,
        target: str | Target | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        standardize: str | None = None,
        per_channel: bool = False,
    ) -> "MaskedAutoencoder":
        """Build a model of a named size. It starts from random weights: train it before use.

        `from_pretrained` loads weights that were trained. Sizes that are `None` are the preset's,
        `mlp_dim` too when `hidden_dim` is given.

        Args:
            name: `"nano"`, `"micro"`, `"tiny"`, `"small"`, `"base"`, `"large"` or `"huge"`; see
                `mae_keras.models.PRESETS`.
            image_shape: ints `(*spatial, channels)`, in pixels; `(length, channels)` for signals.
            patch_size: int, or one int per spatial axis, in pixels.
            mask_ratio: float in (0, 1), fraction of patches to hide. Defaults to `None`: 0.75.
            masking: `"random"`, `"block"`, `"grid"`, `"time"`, `"frequency"`, `"tube"`,
                `"channel"`, `"forecast"`, or a masking layer, which brings its own ratio and seed.
            seed: int, seed of the masks, or `None`: random.
            value_range: two floats, pixel values that mean black and white, or `None`.
            mean: float, or one per channel, in units of [0, 1], or `None`; `adapt` computes it.
            std: like `mean`, positive.
            standardize: `"sample"` also standardizes every channel of every sample by its own mean
                and standard deviation; see `PatchInputs`.
            per_channel: bool, whether each channel of a patch is a token of its own; always so
                with `masking="channel"`, which hides whole channels.
            hidden_dim: int, features per token of the encoder, or `None`.
            num_layers: int, transformer blocks of the encoder, or `None`.
            num_heads: int, attention heads of the encoder, or `None`.
            mlp_dim: int, hidden units of each of its blocks' MLP, or `None`.
            use_class_token: bool, whether a learned token is put first.
            drop_path_rate: float in [0, 1), stochastic depth of the encoder's last block.
            layer_norm_epsilon: float above 0, the encoder's.
            position_embedding: `"sincos"` (the paper's) or `"learned"`.
            decoder_hidden_dim: int, features per token of the decoder, or `None`.
            decoder_num_layers: int, transformer blocks of the decoder, or `None`.
            decoder_num_heads: int, attention heads of the decoder, or `None`.
            decoder_mlp_dim: int, hidden units of each of its blocks' MLP, or `None`.
            decoder_layer_norm_epsilon: float above 0, the decoder's.
            decoder_attention: `"self"`: `MAEDecoder`, or `"cross"`: `CrossAttentionDecoder`.
            normalize_targets: bool, the same as `target="standardized"`.
            loss_on: `"hidden"` patches (the paper's) or `"all"`.
            uniformity_weight: float of at least 0; see `MaskedAutoencoder`.
            decode_ratio: float in (0, 1]; see `MaskedAutoencoder`.
            dtype: dtype or dtype policy of all parts, such as `"mixed_bfloat16"`, or `None`: the
                global one.
            target: `"pixels"`, `"standardized"`, `"hog"` or a `Target`; see `MaskedAutoencoder`.
            preprocessing: dict that JSON can hold, or `None`; see `ViTEncoder`.

        Returns:
            `MaskedAutoencoder`, with random weights.

        Raises:
            ValueError: if the preset is unknown or the arguments do not fit.

        Example:
        >>> model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, num_layers=1)
        >>> model.encoder.num_layers, model.encoder.hidden_dim
        (1, 64)
        """
        encoder = {
            "hidden_dim": hidden_dim,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "mlp_dim": mlp_dim,
            "use_class_token": use_class_token,
            "drop_path_rate": drop_path_rate,
            "layer_norm_epsilon": layer_norm_epsilon,
            "position_embedding": position_embedding,
            "value_range": value_range,
            "mean": mean,
            "std": std,
            "preprocessing": preprocessing,
            "standardize": standardize,
            "per_channel": per_channel or masking == "channel",
            "dtype": dtype,
        }
        decoder = {
            "hidden_dim": decoder_hidden_dim,
            "num_layers": decoder_num_layers,
            "num_heads": decoder_num_heads,
            "mlp_dim": decoder_mlp_dim,
            "layer_norm_epsilon": decoder_layer_norm_epsilon,
            "dtype": dtype,
        }
        preset = find_preset(name)
        _check_dtype(dtype)
        if masking == "channel" and as_image_shape(image_shape)[-1] < 2:
            raise ValueError(
                "`masking` can be 'channel' for samples of two channels or more: of one, nothing "
                f"would be left to see. Received: image_shape={tuple(image_shape)}"
            )
        encoder = fill_sizes(preset, "", encoder)
        decoder = fill_sizes(preset, "decoder_", decoder)
        # Before the weights: without a seed it draws from the generator that they use.
        masking = make_masking(masking, mask_ratio, seed)
        decoder_class = find_decoder(decoder_attention)
        return cls(
            ViTEncoder(image_shape, patch_size, **encoder, name="encoder"),
            build_decoder(decoder_class, decoder),
            masking,
            normalize_targets=normalize_targets,
            loss_on=loss_on,
            uniformity_weight=uniformity_weight,
            decode_ratio=decode_ratio,
            target=target,
        )

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str]) -> "MaskedAutoencoder":
        """Load a trained model, decoder included.

        Args:
            source: one of these; a run in a folder comes before weights of the same name.

                - name of weights that ship with the package, such as `"mnist"`; `mae-keras
                  pretrained` lists them with scores.
                - folder of a run, finished or not, or a `.keras` file. As `load_model`, it refuses
                  files that name classes other than this package's and plain Keras layers.
                - published PyTorch checkpoint (facebookresearch/mae, Hugging Face, timm), a file
                  or folder; `mae_keras.interop.model_from_torch` has more options.
                - anything else that `keras.saving.load_model` takes, such as `hf://user/model`,
                  read in Keras's safe mode.

        Returns:
            `MaskedAutoencoder`, not compiled. Weights in the package are stored in half precision
            and loaded as float32.

        Raises:
            TypeError: if `source` is neither text nor a path.
            ValueError: if there is nothing of this name, it cannot be loaded, or it holds another
                kind of model.

        Example:
        >>> import numpy as np
        >>> model = MaskedAutoencoder.from_pretrained("mnist")
        >>> model.encode(np.zeros((2, 28, 28, 1), "uint8")).shape
        (2, 128)
        """
        model = load_pretrained(source)
        check_kind_of_weights(model, cls, source)
        return model

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.built:
            return
        self.encoder.build((None, *self.image_shape))
        self.decoder.build((None, self.num_patches, self.encoder.hidden_dim))
        self.head.build((None, None, self.decoder.hidden_dim))
        self.masking.build()
        self.built = True

    def check_pooling(self, pooling: Any) -> str | tuple[str, int] | None:
        """Refuse a pooling that this model's features do not have."""
        return self.encoder.check_pooling(pooling)

    @property
    def normalize_targets(self) -> bool:
        """Whether the target is `"standardized"`."""
        return self.target.name == StandardizedPixels.name

    @property
    def reconstructs(self) -> bool:
        """Whether predictions can be turned back into samples, by the target and the inputs."""
        inputs = self.encoder.sample_inputs
        return super().reconstructs and all(hasattr(inputs, x) for x in ("samples", "assemble"))

    def check_reconstructs(self) -> None:
        """Refuse a model whose predictions cannot be turned back into samples."""
        super().check_reconstructs()
        if not self.reconstructs:
            raise ValueError(
                "A model cannot reconstruct unless its inputs have methods `samples` and "
                "`assemble`. Received: "
                f"{type(self.encoder.sample_inputs).__name__}"
            )

    def impute(self, samples: Any, batch_size: int = 32) -> Any:
        """Fill what is missing (NaN) of samples; the rest stays as it is.

        A patch of a signal with a gap is predicted whole, from the patches without one. Of a
        pandas table, empty cells are filled, in the table's own units and categories.

        Args:
            samples: float array `(batch, *sample_shape)`, NaN is missing; or, for models with
                `TableInputs`, a `pandas.DataFrame`.
            batch_size: int.

        Returns:
            float32 array of that shape, without NaN; or a `pandas.DataFrame`.

        Raises:
            TypeError: if `samples` are not numbers.
            ValueError: if they do not fit the model, or nothing of a sample can be seen.

        Example:
        >>> import numpy as np
        >>> model = MaskedAutoencoder.from_preset("nano", (8, 1), (2,), value_range=None)
        >>> model.impute(np.array([[[np.nan]] * 2 + [[0.0]] * 6])).shape
        (1, 8, 1)
        """
        inputs = self.encoder.sample_inputs
        filled = super().impute(inputs.as_samples(samples), batch_size)
        return inputs.as_given(filled, samples)

    def loss_for(self, loss: Any) -> Any:
        """The loss to compile with: the target's when none is given."""
        if loss is None and type(self.target).loss is not Target.loss:
            return TargetLoss(self.target)
        if isinstance(loss, TargetLoss):
            loss = loss.of(self.target)
        return super().loss_for(loss)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Values that the inputs take; of images, those that mean black and white."""
        return self.encoder.sample_inputs.value_range

    @property
    def normalization(self) -> keras.layers.Layer:
        """The encoder's `PixelNormalization`."""
        return self.encoder.normalization

    def to_patches(self, images: Any) -> tuple[Any, Any]:
        """Raw images to normalized patches without NaN, and which of them are missing."""
        return self.encoder.to_patches(images)

    def to_targets(self, patches: Any, indices: Any = None, missing: Any = None) -> Any:
        """What the decoder has to predict."""
        targets = self.target.encode(patches, indices, missing)
        check_encoded(self.target, targets, patches.shape[1])
        return targets

    @property
    def num_decoded(self) -> int:
        """Patches that a training step decodes in every image."""
        counted = self.num_hidden if self.loss_on == "hidden" else self.num_patches
        return num_decoded(counted, self.decode_ratio)

    def decoded_indices(
        self, hidden: Any, counted: Any, step: Any, samples: Any, validating: bool = False
    ) -> Any:
        """Which patches a step decodes: those in the loss, or a share of them; `None`: all."""
        if validating or self.decode_ratio == 1.0:
            return hidden if self.loss_on == "hidden" else None
        return draw_decoded(counted, self.num_decoded, self.masking.seed, step, samples)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not isinstance(inputs, dict):
            check_shape(inputs.shape, self.image_shape)
            return map_shards(self._predict_samples, inputs)
        if training:
            self.masking.advance()
        predicted, tokens = map_shards(
            lambda part: self._predict_patches(**part, training=training), inputs
        )
        if training and self.uniformity_weight:
            self._add_uniformity(tokens, inputs.get("missing"), inputs.get("visible_indices"))
        return predicted

    def _predict_patches(
        self,
        patches: Any,
        patch_mask: Any,
        visible_indices: Any = None,
        missing: Any = None,
        decoded_indices: Any = None,
        training: bool = False,
    ) -> tuple[Any, Any]:
        """Predictions of patches, and the encoder's tokens.

        By gathering when indices are given, else by attention masking.
        """
        hidden = join_masks(patch_mask, missing)
        gathering = visible_indices is not None
        tokens = self.encoder.encode_patches(
            patches,
            hidden=missing if gathering else hidden,
            indices=visible_indices,
            training=training,
        )
        decoded = self.decoder.decode(
            tokens,
            patch_mask,
            missing,
            visible_indices,
            decoded_indices,
            num_prefix_tokens=self.encoder.num_prefix_tokens,
            grid=self.grid,
            training=training,
        )
        return self.head(decoded), tokens

    def _add_uniformity(self, tokens: Any, missing: Any, visible_indices: Any) -> None:
        if missing is not None and visible_indices is not None:
            missing = gather_patches(missing[..., None], visible_indices)[..., 0]
        # No mean over images: it takes the features of the whole batch.
        features = joined(self.encoder.pool(tokens, "mean", missing))
        if in_replica():
            # Replicas share this object; while this one waited for the others' features, one of
            # them may have left its loss here.
            self._clear_losses()
        self.add_loss(self.uniformity_weight * uniformity(features))

    def _predict_samples(self, images: Any) -> Any:
        """Predictions with nothing hidden, in pixels where the target is turned back into them."""
        if self.reconstructs:
            return self.reconstruct_batch(images, None)["prediction"]
        patches, missing = self.to_patches(images)
        hidden = ops.zeros(ops.shape(patches)[:2], dtype="bool") if missing is None else missing
        return ops.cast(self._predict_patches(patches, hidden)[0], "float32")

    def reconstruct_batch(
        self, images: Any, patch_mask: Any, statistics: str = "original"
    ) -> dict[str, Any]:
        """One batch of `reconstruct`: tensors in, a dict of tensors out."""
        inputs, like = self.encoder.sample_inputs, {}
        patches, missing = self.to_patches(images)
        if patch_mask is None:
            patch_mask = ops.zeros(ops.shape(patches)[:2], dtype="bool")
        if self._standardizes_samples:  # by what is visible: nothing hidden is given away
            like = {"like": images, "hidden": patch_mask}
            patches, _ = inputs.rows(images, hidden=patch_mask)
        hidden = join_masks(patch_mask, missing)
        predicted = ops.cast(self._predict_patches(patches, hidden)[0], "float32")
        predicted = self.target.decode(predicted, patches, hidden, statistics)
        prediction = inputs.samples(predicted, **like)
        covered = inputs.assemble(ops.broadcast_to(hidden[..., None], ops.shape(patches)))
        pasted = ops.where(covered, prediction, ops.cast(images, "float32"))
        return {"prediction": prediction, "pasted": pasted}

    @property
    def _standardizes_samples(self) -> bool:
        return bool(getattr(self.encoder.sample_inputs, "standardize", None))

    def _as_seen(self, images: Any, patches: Any, patch_mask: Any) -> Any:
        if self._standardizes_samples and self.masking.hides_future:
            return self.encoder.sample_inputs.rows(images, hidden=patch_mask)[0]
        return patches

    def encode_batch(self, images: Any, pooling: Any = "mean") -> Any:
        """One batch of `encode`: a tensor in, a float32 tensor out."""
        patches, missing = self.to_patches(images)
        tokens = self.encoder.encode_patches(patches, hidden=missing)
        return ops.cast(self.encoder.pool(tokens, pooling, missing), "float32")

    def encode_blocks(
        self, images: Any, pooling: str | tuple[str, int] = "mean", batch_size: int = 32
    ) -> np.ndarray:
        """Features of images out of every block, nothing hidden.

        Args:
            images: as for `encode`.
            pooling: as for `encode`, but not `None`.
            batch_size: int.

        Returns:
            NumPy array `(num_layers + 1, batch, num_features)`: pooled patch embeddings, then what
            each block makes of them; the last is `encode(images)`, final norm included.

        Raises:
            TypeError, ValueError: if the images do not fit the model, or `pooling` is `None`.
        """
        pooling = check_pooling(pooling)
        self.check_pooling(pooling)
        made = self._run_checked(
            ("encode_blocks", pooling),
            lambda batch: self._encode_blocks_batch(batch, pooling),
            images,
            batch_size,
        )
        return np.moveaxis(made, 1, 0)

    def _encode_blocks_batch(self, images: Any, pooling: Any) -> Any:
        patches, missing = self.to_patches(images)
        blocks = self.encoder.encode_blocks(patches, hidden=missing)
        pooled = [self.encoder.pool(tokens, pooling, missing) for tokens in blocks]
        return ops.cast(ops.stack(pooled, axis=1), "float32")  # (batch, blocks, num_features)

    def get_config(self) -> dict[str, Any]:
        own = {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "masking": keras.saving.serialize_keras_object(self.masking),
            "loss_on": self.loss_on,
            "uniformity_weight": self.uniformity_weight,
            "decode_ratio": self.decode_ratio,
        }
        of_pixels = self.encoder.sample_inputs.default_target == Pixels.name
        if of_pixels and type(self.target) in (Pixels, StandardizedPixels):
            own["normalize_targets"] = self.normalize_targets  # which earlier versions know too
        else:
            own["target"] = keras.saving.serialize_keras_object(self.target)
        return with_version({**super().get_config(), **own})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MaskedAutoencoder":
        parts = ("encoder", "decoder", "masking", "target")
        return from_versioned_config(cls, config, [part for part in parts if part in config])


def _check_decode_ratio(decode_ratio: float, decoder: MAEDecoder) -> None:
    check_number("decode_ratio", decode_ratio, 0, 1, above=True)
    if decode_ratio < 1.0 and not decoder.decodes_a_share:
        raise ValueError(
            f"`decode_ratio` must be 1 without a CrossAttentionDecoder, which `from_preset` "
            f"makes of decoder_attention='cross'. Received: decode_ratio={decode_ratio} with "
            f"{type(decoder).__name__}"
        )


def _check_part(name: str, part: Any, kind: type) -> None:
    if not isinstance(part, kind):
        raise TypeError(f"`{name}` must be a {kind.__name__}. Received: {type(part).__name__}")


def _check_decoder_width(decoder: MAEDecoder, grid: Sequence[int]) -> None:
    """Refuse a decoder whose tokens are too narrow to know their place on every axis."""
    least = 2 * len(grid)
    if decoder.hidden_dim < least:
        raise ValueError(
            f"`decoder` must have a hidden_dim of at least {least} to encode positions on "
            f"{len(grid)} axes. Received: decoder.hidden_dim={decoder.hidden_dim}"
        )


def _check_dtype(dtype: Any) -> None:
    try:
        keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`dtype` must be a dtype or a dtype policy, such as 'float32' or 'mixed_bfloat16'. "
            f"Received: dtype={dtype!r}"
        ) from error
