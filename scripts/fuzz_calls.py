"""What `fuzz.py` calls: valid calls of the public API, mistakes in their arguments, and oracles."""

import dataclasses
import fnmatch
import functools
import math
import os
import pathlib
import random
import tempfile
import unittest.mock
from collections.abc import Callable
from typing import Any

import keras
import matplotlib
import numpy as np

from mae_keras import (
    data,
    evaluation,
    figures,
    interop,
    layers,
    losses,
    models,
    ops,
    runs,
    training,
)
from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder

matplotlib.use("Agg")

# Public names that no call is made of, and why.
EXEMPT = {
    "a result, made by what returns it": (
        "models.FlopCount models.PatchPrediction models.Preset models.Reconstruction "
        "models.Restoration evaluation.Calibration evaluation.CalibrationBin "
        "evaluation.ClassReport evaluation.ClassScores evaluation.Embedding "
        "evaluation.FineTuneResult evaluation.KNNResult evaluation.LabelFraction "
        "evaluation.LinearProbe evaluation.LinearProbeResult evaluation.MeanInterval "
        "evaluation.MembershipResult evaluation.PaperProbeResult evaluation.RestorationComparison "
        "evaluation.RestorationScore evaluation.ForecastScore evaluation.ImputationScore "
        "evaluation.LinearForecast evaluation.SegmentationReport evaluation.SegmentationScores "
        "evaluation.AbnormalityMethod evaluation.AbnormalityReport evaluation.AbnormalityScores "
        "evaluation.ScreeningReport evaluation.SegmenterTraining evaluation.Localization "
        "runs.Checkpoint runs.Finding runs.Progress "
        "data.ImageData data.SegmentationData data.TableData runs.Comparison"
    ),
    "a base class": (
        "models.Inputs models.MaskedModel models.TrainableModel models.Target "
        "layers.PatchMasking layers.SegmentationHead data.Split models.TransformerEncoder"
    ),
    "without arguments": "models.Pixels models.StandardizedPixels models.TableTarget",
    "a declaration, made by `register_protocol`": "runs.Protocol",
    "a registry of classes, which a mistake would fill": (
        "layers.register_masking layers.register_segmentation_head models.register_target "
        "runs.register_protocol runs.register_recipe data.register_source"
    ),
    "an error": (
        "runs.CallbackError runs.DamagedError runs.Interrupted runs.LockedError "
        "training.LostProcessError training.NonFiniteError training.OutOfMemoryError"
    ),
    "a report, or an error": (
        "interop.TensorReport interop.VerificationError interop.WeightsReport"
    ),
    "of another library, which has tests of its own": "interop.to_keras_hub",
    "a table": (
        "models.PRESETS models.TARGETS data.CORRUPTIONS data.DATASETS data.SOURCES "
        "runs.PROTOCOLS runs.RECIPES "
        "evaluation.TYPE_CHECKING"
    ),
    "of processes, folders and files, which have tests of their own": (
        "runs.CheckpointStore runs.RunCheckpoint runs.RunFolder runs.StopRequest "
        "training.distribute training.enable_determinism training.exit_at_once "
        "training.explaining_out_of_memory training.gather training.is_writer "
        "runs.load_checkpoint runs.locked training.process_index training.shard "
        "training.shard_batches_across_cores training.wait_for_all training.ReconstructionCallback "
        "training.StopAtNonFinite models.load_model data.FolderSplit data.MappedSplit "
        "data.StreamSplit data.load data.kind data.read_image data.read_signals "
        "data.read_sound data.SoundSplit data.read_video data.VideoSplit data.read_volume "
        "data.CropSplit data.VolumeSplit data.poisson_batches runs.diagnose runs.evaluate_run "
        "runs.import_checkpoint runs.model_card runs.pretrain runs.score "
        "runs.fine_tune_run runs.audit_run runs.audit_text runs.predict_files "
        "runs.segment_run runs.segment_files "
        "runs.summary runs.evaluation_table runs.Saving runs.load_callback figures.save_figure "
        "figures.save_animation"
    ),
    "of dictionaries of rows and curves, which have tests of their own": (
        "figures.image_grid figures.line_figure figures.matrix_figure figures.class_bar_figure "
        "figures.screening_figure"
    ),
    "seconds a call; made of what is called here": (
        "evaluation.fine_tune evaluation.paper_linear_probe evaluation.label_fraction_scores "
        "evaluation.train_segmenter evaluation.segment_images evaluation.score_segmenter "
        "runs.fit_from training.reconstruction_of models.training_flops"
    ),
}


# Of tensors no values are known before they are computed.
_OF_TENSORS = ("ops.", "losses.", "layers.dot_product_attention", "data.augment")

# Legitimate wherever the argument occurs: any seed, all images at once, other ranges of pixels.
_LEGITIMATE = (
    ("seed", "huge"),
    ("step", "huge"),
    ("batch_size", "huge"),
    ("max_samples", "huge"),
    ("max_rows", "huge"),  # at most so many: all of them
    ("max_heads", "huge"),
    *(("value_range", mistake) for mistake in ("negative", "huge", "fraction", "zero")),
)


@dataclasses.dataclass(frozen=True)
class Call:
    """A valid call.

    Args:
        name: `package.name` or `package.name.method`.
        function: called with the arguments.
        make: gives valid arguments.
        use: called with the result, so that a constructed thing is used; gives numbers.
        fixed: arguments that no mistake is made in.
        also: (argument, mistake) that are legitimate; a mistake may end with `*`.
        aliases: argument to what messages call it.
    """

    name: str
    function: Callable[..., Any]
    make: Callable[[], dict[str, Any]]
    use: Callable[[Any], Any] = lambda result: result
    fixed: tuple[str, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Fresh valid arguments."""
        return {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in self.make().items()
        }

    def allows(self, argument: str, mistake: str) -> bool:
        """Whether what looks like a mistake is legitimate here."""
        if mistake == "infinite" and self.name.startswith(_OF_TENSORS):
            return True
        return any(
            argument == name and fnmatch.fnmatch(mistake, kind)
            for name, kind in (*self.also, *_LEGITIMATE)
        )

    def names(self, argument: str) -> list[str]:
        """Names of which an error must say one: of two arrays that do not fit, either."""
        arguments = self.make()
        others = [n for n, v in arguments.items() if isinstance(v, np.ndarray)]
        paired = others if isinstance(arguments[argument], np.ndarray) else []
        aliases = dict(self.aliases)
        return [aliases.get(name, name) for name in {argument, *paired}] + [argument]


# --- mistakes -----------------------------------------------------------------------------------


def mistakes(value: Any, rng: random.Random) -> dict[str, tuple[Any, bool]]:
    """What may stand in place of a valid value: name to (mistake, whether it must be refused)."""
    if isinstance(value, bool) or value is None or callable(value):
        return {}
    if isinstance(value, int):
        return {
            "negative": (-rng.randint(1, 10**6), True),
            "zero": (0, False),
            "huge": (10**20, True),
            "fraction": (value + rng.uniform(0.1, 0.9), True),
            "nan": (math.nan, True),
            "infinite": (math.inf, True),
            "none": (None, False),
            "list": ([value] * 5, False),
        }
    if isinstance(value, float):
        return {
            "negative": (-rng.uniform(0.01, 10), True),
            "zero": (0.0, False),
            "large": (rng.uniform(2, 10), False),
            "huge": (1e20, False),
            "nan": (math.nan, True),
            "infinite": (math.inf, True),
            "minus_infinite": (-math.inf, True),
            "none": (None, False),
            "list": ([value] * 5, False),
        }
    if isinstance(value, str):
        other = list(value)
        rng.shuffle(other)
        return {
            "misspelled": ("".join(other) + "x", True),
            "empty": ("", True),
            "upper": (value.upper() + "_", True),
            "none": (None, False),
            "number": (rng.randint(0, 9), True),
        }
    if isinstance(value, (tuple, list)):
        return _sequence_mistakes(value, rng)
    if isinstance(value, dict):
        return {"empty": ({}, False), "none": (None, False)}
    if isinstance(value, np.ndarray):
        return _array_mistakes(value, rng)
    return {"none": (None, True)}


def _sequence_mistakes(value: Any, rng: random.Random) -> dict[str, tuple[Any, bool]]:
    kind = type(value)
    changed = {"none": (None, False), "empty": (kind(()), False), "scalar": (value[0], False)}
    if all(isinstance(item, (int, float)) for item in value):
        at = rng.randrange(len(value))

        def with_item(item: Any) -> Any:
            return kind([*value[:at], item, *value[at + 1 :]])

        whole = isinstance(value[0], int)
        changed.update(
            shorter=(value[:-1], False),
            longer=(kind([*value, value[-1]]), False),
            negative=(with_item(-rng.randint(1, 99)), True),
            zero=(with_item(0), False),
            huge=(with_item(10**20), True),
            nan=(with_item(math.nan), True),
            infinite=(with_item(math.inf), True),
            nothing=(with_item(None), True),
        )
        if whole:
            changed["fraction"] = (with_item(value[at] + rng.uniform(0.1, 0.9)), True)
    elif all(isinstance(item, str) for item in value):
        changed.update(misspelled=(kind([*value[:-1], "nonesuch"]), False))
    return changed


def _array_mistakes(value: np.ndarray, rng: random.Random) -> dict[str, tuple[Any, bool]]:
    changed = {
        "none": (None, False),
        "without_batch": (value[0], False),
        "flat": (value.reshape(-1), False),
        "more_axes": (value[None], False),
        "no_rows": (value[:0], False),
        "fewer_rows": (value[: -rng.randint(1, max(1, len(value) - 1))], False),
        "more_rows": (np.concatenate([value, value]), False),
        "complex": (value.astype("complex64") + 1j, True),
        "text": (value.astype(str), True),
        "ragged": ([*value[:-1], value[0].reshape(-1)[:1]], False),
    }
    if value.ndim > 1:
        changed["fewer_columns"] = (value[..., :-1], False)
        changed["more_columns"] = (np.concatenate([value, value], axis=-1), False)
        changed["transposed"] = (np.moveaxis(value, -1, 1), False)
        changed["no_columns"] = (value[..., :0], False)
    if value.dtype.kind == "f":
        holed = value.copy()
        at = rng.randrange(value.size)
        holed.reshape(-1)[at] = math.nan
        endless = value.copy()
        endless.reshape(-1)[at] = math.inf
        changed["nan"] = (holed, False)
        changed["nans"] = (np.full_like(value, math.nan), False)
        changed["infinite"] = (endless, True)
        changed["huge"] = (value * 1e30, False)
    if value.dtype.kind in "iu":
        changed["fractions"] = (value + rng.uniform(0.1, 0.9), False)
        wide = value.astype("int64")
        wide.reshape(-1)[rng.randrange(value.size)] = 10**12
        changed["huge"] = (wide, False)
        below = value.astype("int64")
        below.reshape(-1)[rng.randrange(value.size)] = -rng.randint(1, 99)
        changed["negative"] = (below, False)
    if value.dtype.kind == "b":
        changed["fractions"] = (value * 0.5, False)
        changed["all"] = (np.ones_like(value), False)
        changed["none_of_them"] = (np.zeros_like(value), False)
    return changed


def not_finite(result: Any) -> bool:
    """Whether numbers came out that are NaN or infinite."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = vars(result)
    if isinstance(result, dict):
        return any(not_finite(value) for value in result.values())
    if isinstance(result, (tuple, list)):
        return any(not_finite(value) for value in result)
    if isinstance(result, (bool, str)) or result is None:
        return False
    if isinstance(result, (int, float)) or hasattr(result, "dtype") and hasattr(result, "shape"):
        try:
            numbers = np.asarray(keras.ops.convert_to_numpy(result))
        except (TypeError, ValueError):
            return False
        return numbers.dtype.kind == "f" and not np.isfinite(numbers).all()
    return False


# --- valid calls --------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 1)).astype("uint8")
FLOATS = IMAGES.astype("float32")
TOKENS = RNG.normal(size=(2, 4, 8)).astype("float32")
TOKEN_MAPS = np.random.default_rng(2).normal(size=(2, 2, 2, 8)).astype("float32")
HEAD_IMAGES = np.zeros((2, 4, 4, 1), "float32")
PATCH_MASK = np.array([[True, False, True, False], [True, True, False, False]])
MASKS16 = RNG.permuted(np.tile(np.arange(16) < 8, (6, 1)), axis=1)
HOLES = np.zeros((6, 8, 8), bool)
HOLES[:, 2:5, 2:5] = True
ROWS = RNG.normal(size=(24, 5)).astype("float32")
SIGNALS = np.random.default_rng(1).normal(size=(2, 16, 3)).astype("float32")
CLASSES = np.arange(24) % 3
PROBABILITIES = RNG.dirichlet(np.ones(3), 24).astype("float32")


@functools.cache
def vision() -> MaskedAutoencoder:
    """A compiled model that calls may train."""
    sizes = {"num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2, mask_ratio=0.5, seed=0, **sizes)
    model.compile("sgd", run_eagerly=True)
    return model


@functools.cache
def signals() -> MaskedAutoencoder:
    """A model of signals of 16 steps and one channel."""
    sizes = {"num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    return MaskedAutoencoder.from_preset(
        "nano", (16, 1), (4,), mask_ratio=0.5, seed=0, value_range=None, **sizes
    )


@functools.cache
def dense() -> DenseMaskedAutoencoder:
    """A compiled model without transformer."""
    model = DenseMaskedAutoencoder((8, 8, 1), (4,), seed=0)
    model.compile("sgd", run_eagerly=True)
    return model


@functools.cache
def classifier() -> models.ImageClassifier:
    """A compiled classifier of three classes."""
    model = models.ImageClassifier.from_pretrained(vision(), 3, seed=0)
    model.compile("sgd", run_eagerly=True)
    return model


@functools.cache
def split() -> data.ArraySplit:
    """Images with labels."""
    return data.ArraySplit(np.repeat(IMAGES, 4, axis=0), np.arange(24) % 3)


def _first(batches: Any) -> Any:
    batch = next(iter(batches))
    return batch if isinstance(batch, tuple) else (batch,)


def _trained(optimizer: Any) -> Any:
    """One step of an optimizer; what a weight became."""
    weight = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    optimizer.build([weight])
    optimizer.apply([keras.ops.ones((2, 2))])
    return weight.numpy()


def _draw(layer: Any) -> Any:
    return layer(TOKENS, training=True)


def _sizes(hidden_dim: int = 8) -> dict[str, Any]:
    return {
        "hidden_dim": hidden_dim,
        "num_layers": 1,
        "num_heads": 2,
        "mlp_dim": 8,
        "layer_norm_epsilon": 1e-6,
    }


def _pixels() -> dict[str, Any]:
    return {"value_range": (0, 255), "mean": 0.5, "std": 0.25}


def _fit(model: Any, arguments: dict[str, Any]) -> Any:
    """Train a model that other cases use too, and give it its weights back."""
    before = model.get_weights()
    try:
        return model.fit(**arguments)
    finally:
        model.set_weights(before)


def _set_mask_ratio(mask_ratio: Any) -> Any:
    try:
        return vision().set_mask_ratio(mask_ratio)
    finally:
        vision().set_mask_ratio(0.5)


def _probed(probe: Any) -> Any:
    """Scores of a model that is as it was built."""
    probe.set_model(vision())
    probe.on_train_begin()
    return probe.scores()


@functools.cache
def _table() -> Any:
    import pandas as pd

    ages, cities = [31.0, 44.0, math.nan, 38.0], ["Oslo", "Rome", "Rome", None]
    return data.load_table(pd.DataFrame({"age": ages, "city": cities, "class": list("abab")}))


def _history(history: Any) -> Any:
    return history.history


@functools.cache
def calls() -> dict[str, Call]:
    """All valid calls by name."""
    listed = [*_layer_calls(), *_op_calls(), *_model_calls(), *_training_calls()]
    listed += [*_evaluation_calls(), *_data_calls(), *_figure_calls(), *_recipe_calls()]
    listed += _interop_calls()
    return {call.name: call for call in listed}


def _layer_calls() -> list[Call]:
    masking = {"mask_ratio": 0.5, "seed": 3, "grid": (2, 2)}
    seeds = (("seed", "negative"), ("seed", "none"))
    block = {"num_heads": 2, "mlp_dim": 8, "drop_path_rate": 0.1, "layer_norm_epsilon": 1e-6}
    attention = {"query": TOKENS[..., None, :], "key": TOKENS[..., None, :]}
    return [
        *(
            Call(f"layers.{kind.__name__}", kind, lambda: dict(masking), _draw, also=seeds)
            for kind in (
                *(layers.RandomMasking, layers.BlockMasking),
                *(layers.GridMasking, layers.TailMasking),
            )
        ),
        Call(
            "layers.AxisMasking",
            layers.AxisMasking,
            lambda: {"axis": (0,), **masking},
            _draw,
            also=seeds,
        ),
        Call(
            "layers.ColumnEmbedding",
            layers.ColumnEmbedding,
            lambda: {"sizes": (0, 3), "hidden_dim": 8},
            lambda layer: layer(np.zeros((2, len(layer.sizes), 1), "float32")),
        ),
        Call(
            "layers.DropPath",
            layers.DropPath,
            lambda: {"drop_path_rate": 0.5, "seed": 1},
            lambda layer: layer(TOKENS, training=True),
        ),
        Call(
            "layers.MultiHeadSelfAttention",
            layers.MultiHeadSelfAttention,
            lambda: {"num_heads": 2},
            lambda layer: layer(TOKENS),
        ),
        Call(
            "layers.MultiHeadCrossAttention",
            layers.MultiHeadCrossAttention,
            lambda: {"num_heads": 2},
            lambda layer: layer(TOKENS, TOKENS),
        ),
        *(
            Call(
                f"layers.{head.__name__}",
                head,
                lambda wide=wide: {"num_classes": 3, "patch_size": (2, 2), **wide},
                lambda head: head(np.stack([TOKEN_MAPS] * head.num_maps, axis=1), HEAD_IMAGES),
            )
            for head, wide in (
                (layers.LinearHead, {}),
                (layers.PyramidHead, {"head_dim": 8}),
                (layers.UNETRHead, {"head_dim": 8}),
            )
        ),
        Call(
            "layers.TransformerBlock",
            layers.TransformerBlock,
            lambda: dict(block),
            lambda layer: layer(TOKENS, training=True),
        ),
        Call(
            "layers.CrossAttentionBlock",
            layers.CrossAttentionBlock,
            lambda: dict(block),
            lambda layer: layer(TOKENS, TOKENS, training=True),
        ),
        Call(
            "layers.PatchExtraction",
            layers.PatchExtraction,
            lambda: {"patch_size": (2, 2)},
            lambda layer: layer(IMAGES),
        ),
        Call(
            "layers.PatchExtraction.scalar",
            layers.PatchExtraction,
            lambda: {"patch_size": 2},
            lambda layer: layer(IMAGES),
        ),
        Call("models.TableInputs", models.TableInputs, lambda: {"schema": _table().schema}),
        Call("models.HOG", models.HOG, lambda: {"num_bins": 9, "cell_size": 2}),
        Call(
            "models.PatchInputs",
            models.PatchInputs,
            lambda: {"image_shape": (8, 8, 1), "patch_size": 2, "value_range": (0.0, 255.0)},
        ),
        Call("layers.PixelNormalization", layers.PixelNormalization, _pixels, lambda f: f(IMAGES)),
        Call(
            "layers.PixelNormalization.channels",
            layers.PixelNormalization,
            lambda: {"value_range": (0.0, 1.0), "mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.5]},
            lambda layer: layer(np.ones((2, 4, 4, 3), "float32")),
        ),
        Call(
            "layers.PixelNormalization.adapt",
            lambda images: layers.PixelNormalization().adapt(images),
            lambda: {"images": FLOATS},
        ),
        Call(
            "layers.PositionEmbedding",
            layers.PositionEmbedding,
            lambda: {"grid": (2, 2), "kind": "learned"},
            lambda layer: layer(TOKENS),
        ),
        Call(
            "layers.dot_product_attention",
            layers.dot_product_attention,
            lambda: {**attention, "value": TOKENS[..., None, :], "attention_mask": ~PATCH_MASK},
        ),
    ]


def _op_calls() -> list[Call]:
    samples = {"seed": 3, "step": 1, "samples": np.arange(4)}
    anything = (("seed", "negative"), ("step", "negative"))
    indices = np.array([[0, 2], [1, 3]])
    patches = RNG.normal(size=(2, 4, 3)).astype("float32")
    pictures = {"images": FLOATS, "references": FLOATS + 1, "max_value": 255.0}
    statistics = {"mean": patches.mean(-1, keepdims=True), "std": patches.std(-1, keepdims=True)}
    logits = RNG.normal(size=(24, 3)).astype("float32")
    return [
        Call("ops.num_hidden", ops.num_hidden, lambda: {"num_patches": 16, "mask_ratio": 0.5}),
        Call(
            "ops.counter_noise",
            ops.counter_noise,
            lambda: {**samples, "num_elements": 3},
            also=anything,
        ),
        Call(
            "ops.random_scores",
            ops.random_scores,
            lambda: {"grid": (2, 2), **samples},
            also=anything,
        ),
        Call(
            "ops.block_scores", ops.block_scores, lambda: {"grid": (2, 2), **samples}, also=anything
        ),
        Call("ops.grid_scores", ops.grid_scores, lambda: {"grid": (2, 2)}),
        Call(
            "ops.covering_masks",
            ops.covering_masks,
            lambda: {
                "num_patches": 8,
                "count": 4,
                "num_masks": 2,
                "seed": 0,
                "samples": np.arange(3),
            },
            also=(("seed", "negative"),),
        ),
        Call(
            "ops.hide_highest",
            ops.hide_highest,
            lambda: {"scores": TOKENS[0], "count": 3},
            aliases=(("scores", "count"),),
        ),
        Call(
            "ops.visible_indices",
            ops.visible_indices,
            lambda: {"patch_mask": PATCH_MASK, "num_visible": 2},
            aliases=(("patch_mask", "num_visible"),),
        ),
        Call(
            "ops.split_indices",
            ops.split_indices,
            lambda: {"patch_mask": PATCH_MASK, "num_visible": 2},
            aliases=(("patch_mask", "num_visible"),),
        ),
        Call("ops.restore_indices", ops.restore_indices, lambda: {"patch_mask": PATCH_MASK}),
        Call(
            "ops.gather_patches",
            ops.gather_patches,
            lambda: {"patches": patches, "indices": indices},
        ),
        Call(
            "ops.restore_patches",
            ops.restore_patches,
            lambda: {"visible": patches[:, :2], "patch_mask": PATCH_MASK, "fill": 0.0},
            also=(("fill", "*"),),
        ),
        Call("ops.split_missing", ops.split_missing, lambda: {"patches": patches}),
        Call(
            "ops.can_be_missing", ops.can_be_missing, lambda: {"dtype": "float32"}, fixed=("dtype",)
        ),
        Call(
            "ops.as_image_shape",
            ops.as_image_shape,
            lambda: {"image_shape": (8, 8, 1)},
            also=(("image_shape", "huge"),),
        ),
        Call(
            "ops.as_patch_size",
            ops.as_patch_size,
            lambda: {"patch_size": (2, 2), "rank": 2},
            also=(("patch_size", "huge"),),
        ),
        Call(
            "ops.check_channel_axis",
            ops.check_channel_axis,
            lambda: {"image_shape": (8, 8, 1), "patch_size": 2},
            also=(("image_shape", "*"), ("patch_size", "*")),
        ),
        Call(
            "ops.patch_grid",
            ops.patch_grid,
            lambda: {"image_shape": (8, 8, 1), "patch_size": 2},
            also=(("image_shape", "huge"),),
        ),
        Call(
            "ops.patchify",
            ops.patchify,
            lambda: {"images": IMAGES, "patch_size": 2},
            aliases=(("images", "patch_size"),),
        ),
        Call(
            "ops.unpatchify",
            ops.unpatchify,
            lambda: {
                "patches": np.ones((2, 16, 4), "float32"),
                "patch_size": 2,
                "image_shape": (8, 8, 1),
            },
            aliases=(("image_shape", "patches"),),
        ),
        Call("ops.patch_statistics", ops.patch_statistics, lambda: {"patches": patches}),
        Call(
            "ops.standardize_patches",
            ops.standardize_patches,
            lambda: {"patches": patches, **statistics},
        ),
        Call(
            "ops.unstandardize_patches",
            ops.unstandardize_patches,
            lambda: {"patches": patches, **statistics},
        ),
        Call(
            "ops.sincos_positions",
            ops.sincos_positions,
            lambda: {"grid": (2, 2), "hidden_dim": 8},
        ),
        Call(
            "ops.interpolate_positions",
            ops.interpolate_positions,
            lambda: {"table": TOKENS[0], "source_grid": (2, 2), "target_grid": (3, 3)},
        ),
        Call(
            "ops.psnr", ops.psnr, lambda: {**pictures, "counted": HOLES[..., None]}, lambda _: None
        ),
        Call(
            "ops.ssim",
            ops.ssim,
            lambda: {**pictures, "filter_size": 3, "sigma": 1.5},
        ),
        Call(
            "losses.MaskedReconstructionLoss",
            losses.MaskedReconstructionLoss,
            lambda: {"reduction": "sum_over_batch_size"},
            lambda loss: loss(patches, patches + 1, PATCH_MASK.astype("float32")),
        ),
        Call(
            "losses.reconstruction_weights",
            losses.reconstruction_weights,
            lambda: {"counted": PATCH_MASK, "sample_weight": np.ones(2, "float32")},
        ),
        Call("losses.uniformity", losses.uniformity, lambda: {"features": ROWS}),
        Call(
            "losses.adjust_logits",
            losses.adjust_logits,
            lambda: {"logits": logits, "class_priors": np.array([0.5, 0.3, 0.2]), "tau": 1.0},
        ),
        Call(
            "losses.LogitAdjustedCrossentropy",
            losses.LogitAdjustedCrossentropy,
            lambda: {"class_priors": np.array([0.5, 0.3, 0.2]), "tau": 1.0, "label_smoothing": 0.1},
            lambda loss: loss(np.eye(3, dtype="float32")[CLASSES], logits),
        ),
    ]


def _model_calls() -> list[Call]:
    def encoder(image_shape: Any = (8, 8, 1)) -> dict[str, Any]:
        return {
            "image_shape": image_shape,
            "patch_size": 2,
            **_sizes(),
            "drop_path_rate": 0.1,
            "position_embedding": "sincos",
            **_pixels(),
        }

    def preset() -> dict[str, Any]:
        sizes = {f"decoder_{name}": value for name, value in _sizes().items()}
        own = {"name": "nano", **encoder(), **sizes, "decoder_attention": "cross", "seed": 1}
        rates = {"mask_ratio": 0.5, "uniformity_weight": 0.01, "decode_ratio": 0.5}
        return {**own, **rates, "masking": "random", "loss_on": "hidden", "dtype": "float32"}

    def preset_of_rank_3() -> dict[str, Any]:
        return {**preset(), "image_shape": (4, 4, 4, 2), "patch_size": (2, 2, 2)}

    def parts() -> dict[str, Any]:
        made = models.ViTEncoder(**encoder()), models.MAEDecoder(**_sizes())
        rates = {"masking": 0.5, "uniformity_weight": 0.01, "decode_ratio": 1.0, "seed": 1}
        return {"encoder": made[0], "decoder": made[1], **rates, "loss_on": "all"}

    def classes() -> dict[str, Any]:
        return {
            "encoder": models.ViTEncoder(**encoder()),
            "num_classes": 3,
            "pooling": "mean",
            "head_dropout_rate": 0.1,
            "train_blocks": 1,
        }

    def fully_connected() -> dict[str, Any]:
        own = {"image_shape": (4, 4, 1), "hidden_units": (4, 3), "mask_ratio": 0.5, "seed": 1}
        return {**own, "loss_on": "all", "activation": "relu", **_pixels()}

    def encoded(model: Any) -> Any:
        return model.encode_batch(np.zeros((1, *model.image_shape), "uint8"))

    def used(decoder: Any) -> Any:
        return decoder(TOKENS, PATCH_MASK, grid=(2, 2))

    images = (("x", "images"), ("y", "labels"))
    seeds = (("seed", "none"), ("seed", "negative"))  # of masks
    ignored = (("y", "complex"), ("y", "text"))  # labels, by models without classes
    fit = {"batch_size": 3, "epochs": 1, "validation_split": 0.0, "initial_epoch": 0}
    fit.update(validation_freq=1, verbose=0)
    repaired = {"images": FLOATS, "missing": HOLES, "batch_size": 4}
    cut = (("images", "fewer_rows"), ("missing", "more_axes"))
    return [
        Call("models.ViTEncoder", models.ViTEncoder, encoder, lambda e: e(IMAGES)),
        Call("models.MAEDecoder", models.MAEDecoder, _sizes, used),
        Call("models.CrossAttentionDecoder", models.CrossAttentionDecoder, _sizes, used),
        Call(
            "models.MaskedAutoencoder",
            models.MaskedAutoencoder,
            parts,
            encoded,
            also=(("seed", "negative"),),
            aliases=(("masking", "mask_ratio"),),  # a number is the ratio
        ),
        Call(
            "models.MaskedAutoencoder.from_preset",
            MaskedAutoencoder.from_preset,
            preset,
            encoded,
            also=seeds,
            aliases=(("name", "preset"),),
        ),
        Call(
            "models.MaskedAutoencoder.from_preset.volumes",
            MaskedAutoencoder.from_preset,
            preset_of_rank_3,
            encoded,
            also=seeds,
            aliases=(("name", "preset"), ("image_shape", "patch_size")),
        ),
        Call(
            "models.DenseMaskedAutoencoder",
            DenseMaskedAutoencoder,
            fully_connected,
            encoded,
            also=seeds,
        ),
        Call(
            "models.ImageClassifier",
            models.ImageClassifier,
            classes,
            lambda model: model(IMAGES),
        ),
        Call(
            "models.ImageClassifier.from_pretrained",
            models.ImageClassifier.from_pretrained,
            lambda: {"model": vision(), "num_classes": 3, "drop_path_rate": 0.1, "seed": 1},
            lambda model: model(IMAGES),
            fixed=("model",),
        ),
        Call(
            "models.Forecaster",
            models.Forecaster,
            lambda: {
                **{"encoder": signals().encoder, "horizon": 4, "num_channels": 3},
                "dropout_rate": 0.1,
            },
            lambda model: model(SIGNALS),
            fixed=("encoder",),
        ),
        Call(
            "models.Forecaster.from_pretrained",
            models.Forecaster.from_pretrained,
            lambda: {"model": signals(), "horizon": 4, "drop_path_rate": 0.1, "seed": 1},
            lambda model: model(SIGNALS[..., :1]),
            fixed=("model",),
        ),
        Call(
            "models.Segmenter",
            models.Segmenter,
            lambda: {
                **{"encoder": vision().encoder, "num_classes": 3, "head": "linear"},
                **{"blocks": (1,), "image_shape": (8, 8, 1), "train_blocks": 1},
                "class_names": ("a", "b", "c"),
            },
            lambda model: model(IMAGES),
            fixed=("encoder",),
        ),
        Call(
            "models.Segmenter.from_pretrained",
            models.Segmenter.from_pretrained,
            lambda: {"model": vision(), "num_classes": 3, "drop_path_rate": 0.1, "seed": 1},
            lambda model: model(IMAGES),
            fixed=("model",),
        ),
        Call(
            "models.Forecaster.fit_head",
            lambda **arguments: models.Forecaster.from_pretrained(signals(), 4).fit_head(
                **arguments
            ),
            lambda: {
                "past": SIGNALS[:, :, :1],
                "future": SIGNALS[:, :4, :1],
                "validation": (SIGNALS[:, :, :1], SIGNALS[:, :4, :1]),
                "penalties": (1.0,),
                "batch_size": 2,
            },
        ),
        Call(
            "models.forecast_hidden",
            models.forecast_hidden,
            lambda: {"model": signals(), "past": SIGNALS[:, :12, :1], "batch_size": 2},
            fixed=("model",),
            aliases=(("past", "images"),),
        ),
        Call(
            "models.ImageClassifier.train_last_blocks",
            lambda num_blocks: models.ImageClassifier(
                models.ViTEncoder(**encoder()), 3
            ).train_last_blocks(num_blocks),
            lambda: {"num_blocks": 1},
        ),
        Call(
            "models.MaskedReconstructionAugmentation",
            models.MaskedReconstructionAugmentation,
            lambda: {"model": vision(), "mask_ratio": 0.5, "rate": 0.5, "seed": 1},
            lambda layer: layer(IMAGES, training=True),
            also=seeds,
        ),
        *(
            Call(
                f"models.{name}.fit",
                lambda model=model, **arguments: _fit(model(), arguments),
                lambda: {"x": IMAGES, "y": np.arange(6) % 3, **fit},
                _history,
                fixed=("verbose",),
                also=(("initial_epoch", "*"), ("validation_freq", "*"), *unused),
                aliases=images,
            )
            for name, model, unused in (
                ("DenseMaskedAutoencoder", dense, ignored),
                ("ImageClassifier", classifier, ()),
            )
        ),
        Call(
            "models.MaskedAutoencoder.fit",
            lambda **arguments: _fit(vision(), arguments),
            lambda: {"x": FLOATS, "sample_weight": np.ones(6, "float32"), "verbose": 0},
            _history,
            fixed=("verbose",),
            aliases=images,
        ),
        *(
            Call(
                f"models.{name}.evaluate",
                lambda model=model, **arguments: model().evaluate(**arguments),
                lambda: {"x": FLOATS, "y": np.arange(6) % 3, "batch_size": 3, "verbose": 0},
                fixed=("verbose",),
                also=unused,
                aliases=images,
            )
            for name, model, unused in (
                ("MaskedAutoencoder", vision, ignored),
                ("ImageClassifier", classifier, ()),
            )
        ),
        *(
            Call(
                f"models.{name}.predict",
                lambda model=model, **arguments: model().predict(**arguments),
                lambda: {"x": FLOATS, "batch_size": 3, "verbose": 0},
                fixed=("verbose",),
                aliases=images,
            )
            for name, model in (("MaskedAutoencoder", vision), ("ImageClassifier", classifier))
        ),
        Call(
            "models.MaskedAutoencoder.set_mask_ratio",
            _set_mask_ratio,
            lambda: {"mask_ratio": 0.5},
        ),
        Call(
            "models.MaskedAutoencoder.adapt",
            lambda images: models.ViTEncoder(**encoder()).adapt(images),
            lambda: {"images": FLOATS},
        ),
        Call(
            "models.MaskedAutoencoder.encode",
            lambda **arguments: vision().encode(**arguments),
            lambda: {"images": FLOATS, "pooling": "mean", "batch_size": 4},
        ),
        Call(
            "models.MaskedAutoencoder.encode_blocks",
            lambda **arguments: vision().encode_blocks(**arguments),
            lambda: {"images": IMAGES, "pooling": "mean", "batch_size": 4},
        ),
        *(
            Call(
                f"models.{name}.{method}",
                lambda model=model, method=method, **arguments: getattr(model(), method)(
                    **arguments
                ),
                lambda masks=masks: {"images": FLOATS, "patch_mask": masks, "batch_size": 4},
                also=(("patch_mask", "flat"),),
            )
            for name, model, masks in (
                ("MaskedAutoencoder", vision, MASKS16),
                ("DenseMaskedAutoencoder", dense, HOLES.reshape(6, 64)),
            )
            for method in ("reconstruct", "predict_patches")
        ),
        Call(
            "models.ImageClassifier.encode",
            lambda **arguments: classifier().encode(**arguments),
            lambda: {"images": IMAGES, "batch_size": 4},
        ),
        Call(
            "models.ImageClassifier.probabilities",
            lambda **arguments: classifier().probabilities(**arguments),
            lambda: {"images": FLOATS, "batch_size": 4},
        ),
        Call(
            "models.MaskedAutoencoder.inpaint",
            lambda **arguments: vision().inpaint(**arguments),
            lambda: dict(repaired),
            also=cut,
        ),
        Call(
            "models.MaskedAutoencoder.denoise",
            lambda **arguments: vision().denoise(**arguments),
            lambda: {"images": FLOATS, "batch_size": 4},
            also=cut,
        ),
        Call(
            "models.MaskedAutoencoder.anomaly_map",
            lambda **arguments: vision().anomaly_map(**arguments),
            lambda: {"images": FLOATS, "batch_size": 4},
            also=cut,
        ),
        Call(
            "models.attention_maps",
            models.attention_maps,
            lambda: {"model": vision(), "images": FLOATS, "block": 0, "batch_size": 4},
            also=(("images", "fewer_rows"),),
        ),
        Call(
            "models.attention_rollout",
            models.attention_rollout,
            lambda: {"model": vision(), "images": FLOATS, "batch_size": 4},
            also=(("images", "fewer_rows"),),
        ),
        Call(
            "models.occlusion_maps",
            models.occlusion_maps,
            lambda: {
                **{"model": classifier(), "images": FLOATS[:2], "classes": np.array([0, 1])},
                **{"window": 4, "stride": 4, "fill": "mean", "batch_size": 4},
            },
            also=(("fill", "number"),),
            aliases=(("stride", "window"), ("classes", "images")),
        ),
        Call(
            "models.forward_flops",
            models.forward_flops,
            lambda: {"model": vision(), "batch_size": 4, "num_encoded": 4, "num_decoded": 4},
            also=(("batch_size", "huge"),),
        ),
    ]


def _training_calls() -> list[Call]:
    rates = {"base_learning_rate": 1e-3, "batch_size": 64, "total_steps": 100, "warmup_steps": 10}
    ratios = {"start": 0.5, "end": 0.75, "num_epochs": 10, "num_levels": 3}
    steps = (("total_steps", "huge"), ("num_epochs", "huge"))

    def levels(schedule: Any) -> Any:
        return [schedule(epoch) for epoch in (0, 5, 20)]

    return [
        Call(
            "training.pretraining_optimizer",
            training.pretraining_optimizer,
            lambda: {**rates, "weight_decay": 0.05, "gradient_accumulation_steps": 2},
            _trained,
            also=steps,
        ),
        Call(
            "training.fine_tuning_optimizer",
            training.fine_tuning_optimizer,
            lambda: {**rates, "num_layers": 4},
            _trained,
            also=steps,
        ),
        Call(
            "training.MaskedAdamW",
            training.MaskedAdamW,
            lambda: {"learning_rate": 1e-3, "weight_decay": 0.05, "beta_1": 0.9, "beta_2": 0.95},
            _trained,
        ),
        Call(
            "training.LayerDecayAdamW",
            training.LayerDecayAdamW,
            lambda: {
                "learning_rate": 1e-3,
                "num_layers": 4,
                "layer_decay": 0.75,
                "weight_decay": 0.05,
                "beta_1": 0.9,
                "beta_2": 0.999,
            },
            _trained,
        ),
        Call(
            "training.LARS",
            training.LARS,
            lambda: {
                "learning_rate": 0.1,
                "momentum": 0.9,
                "weight_decay": 0.01,
                "trust_coefficient": 1e-3,
                "epsilon": 1e-8,
                "min_axes": 2,
            },
            _trained,
        ),
        Call(
            "training.warmup_cosine",
            training.warmup_cosine,
            lambda: {"peak": 1e-3, "total_steps": 100, "warmup_steps": 10},
            lambda schedule: [schedule(step) for step in (0, 5, 50)],
            also=steps,
        ),
        Call(
            "training.Privacy",
            training.Privacy,
            lambda: {
                "noise_multiplier": 1.0,
                "max_grad_norm": 1.0,
                "delta": 1e-3,
                "num_samples": 100,
                "batch_size": 10,
                "target_epsilon": 8.0,
                "seed": 3,
                "micro_batch_size": 4,
            },
            lambda privacy: privacy.noise_multiplier,
        ),
        Call(
            "training.class_weights",
            training.class_weights,
            lambda: {"labels": CLASSES, "num_classes": 3, "method": "effective", "beta": 0.99},
        ),
        Call(
            "training.LinearMaskRatio",
            training.LinearMaskRatio,
            lambda: dict(ratios),
            levels,
            also=steps,
        ),
        Call(
            "training.CosineMaskRatio",
            training.CosineMaskRatio,
            lambda: dict(ratios),
            levels,
            also=steps,
        ),
        Call(
            "training.StepMaskRatio",
            training.StepMaskRatio,
            lambda: {"boundaries": (2, 4), "ratios": (0.5, 0.6, 0.75)},
            levels,
            also=(("boundaries", "huge"),),
        ),
        Call(
            "training.MaskRatioScheduler",
            training.MaskRatioScheduler,
            lambda: {"schedule": training.LinearMaskRatio(0.5, 0.75, 4)},
        ),
        Call(
            "training.OnlineProbe",
            training.OnlineProbe,
            lambda: (
                {"samples": IMAGES, "labels": np.arange(6) % 3, "k": 3, "batch_size": 4}
                | {"every": 2, "pooling": "mean"}
            ),
            _probed,
            also=(("k", "huge"), ("every", "huge")),
        ),
    ]


def _evaluation_calls() -> list[Call]:
    def features(*names: str) -> dict[str, Any]:
        made = {}
        for name in names:
            made[f"{name}_features"], made[f"{name}_labels"] = ROWS, CLASSES
        return made

    probe = {"strengths": (0.1, 0.01), "max_samples": 20, "max_iter": 20, "seed": 0}
    boxes = {"num_images": 3, "image_shape": (8, 8, 1), "seed": 0}
    holed = {"images": FLOATS, "missing": HOLES}
    targets = RNG.normal(size=(6, 16, 4)).astype("float32")
    seeds = (("seed", "none"),)
    corrupted = {"kinds": ("noise",), "strengths": (0, 3), "seed": 0}
    return [
        Call("evaluation.effective_rank", evaluation.effective_rank, lambda: {"features": ROWS}),
        Call("evaluation.pixel_features", evaluation.pixel_features, lambda: {"images": FLOATS}),
        Call(
            "evaluation.check_features",
            evaluation.check_features,
            lambda: {"features": ROWS, "labels": CLASSES, "name": "train"},
            fixed=("name",),
            aliases=(("features", "train_features"), ("labels", "train_labels")),
        ),
        Call(
            "evaluation.fit_pca",
            evaluation.fit_pca,
            lambda: {"features": ROWS, "num_components": 2, "seed": 0},
            lambda transform: transform(ROWS),
            also=(*seeds, ("num_components", "huge")),
        ),
        Call(
            "evaluation.forecast_windows",
            evaluation.forecast_windows,
            lambda: {"series": SIGNALS[0], "length": 6, "horizon": 2, "step": 1},
        ),
        Call(
            "evaluation.naive_forecasts",
            evaluation.naive_forecasts,
            lambda: {"past": SIGNALS, "horizon": 4, "season": 3},
        ),
        Call(
            "evaluation.sliding_window",
            evaluation.sliding_window,
            lambda: {
                "predict": lambda windows: windows,
                "sample": FLOATS[0],
                "window": (4, 4),
                "overlap": 0.5,
                "blending": "gaussian",
                "batch_size": 2,
            },
        ),
        Call(
            "evaluation.window_starts",
            evaluation.window_starts,
            lambda: {"spatial": (8, 9), "window": (4, 4), "overlap": 0.5},
        ),
        Call(
            "evaluation.window_weights",
            evaluation.window_weights,
            lambda: {"window": (4, 4), "blending": "uniform"},
        ),
        Call(
            "evaluation.random_gaps",
            evaluation.random_gaps,
            lambda: {"signals": SIGNALS, "fraction": 0.2, "seed": 1},
        ),
        Call(
            "evaluation.naive_imputations",
            evaluation.naive_imputations,
            lambda: {"signals": np.where(SIGNALS > 1, np.nan, SIGNALS)},
        ),
        Call(
            "evaluation.imputation_scores",
            evaluation.imputation_scores,
            lambda: {
                "model": signals(),
                "signals": SIGNALS[..., :1],
                "missing": evaluation.random_gaps(SIGNALS),
                "batch_size": 2,
            },
        ),
        Call(
            "evaluation.forecast_score",
            evaluation.forecast_score,
            lambda: {"forecast": SIGNALS, "future": SIGNALS + 1},
        ),
        Call(
            "evaluation.fit_linear_forecast",
            lambda past, future, penalties: evaluation.fit_linear_forecast(
                (past, future), (past, future), penalties
            ),
            lambda: {"past": SIGNALS, "future": SIGNALS[:, :2], "penalties": (1.0,)},
            also=(("penalties", "huge"),),
            aliases=(("past", "train"), ("future", "train")),
        ),
        Call(
            "evaluation.knn_accuracy",
            evaluation.knn_accuracy,
            lambda: {**features("train", "test"), "k": 3, "temperature": 0.07, "batch_size": 10},
        ),
        Call(
            "evaluation.choose_k",
            evaluation.choose_k,
            lambda: {
                **features("train", "validation"),
                "ks": (1, 3),
                "temperature": 0.07,
                "batch_size": 10,
            },
            also=(("ks", "huge"),),
        ),
        Call(
            "evaluation.fit_linear_probe",
            evaluation.fit_linear_probe,
            lambda: {**features("train", "validation"), **probe},
            lambda made: made.predict(ROWS),
            also=(*seeds, ("max_samples", "huge")),
        ),
        Call(
            "evaluation.linear_probe",
            evaluation.linear_probe,
            lambda: {**features("train", "validation", "test"), **probe},
            also=(*seeds, ("max_samples", "huge")),
        ),
        Call(
            "evaluation.class_report",
            evaluation.class_report,
            lambda: {
                "labels": CLASSES,
                "predictions": CLASSES[::-1].copy(),
                "num_classes": 3,
                "class_names": ("a", "b", "c"),
                "probabilities": PROBABILITIES,
            },
            also=(("class_names", "misspelled"),),
        ),
        Call(
            "evaluation.segmentation_report",
            evaluation.segmentation_report,
            lambda: {
                "masks": np.arange(32).reshape(2, 4, 4) % 3 - 1,
                "predictions": np.arange(32).reshape(2, 4, 4) % 2,
                "num_classes": 2,
                "class_names": ("a", "b"),
                "probabilities": np.full((2, 4, 4, 2), 0.5),
                "groups": np.array([0, 1]),
                "tolerance": 1.0,
                "spacing": (1.0, 2.0),
                "confidence": 0.9,
                "resamples": 100,
                "seed": 0,
            },
            also=(("class_names", "misspelled"), ("tolerance", "*"), ("groups", "*")),
        ),
        Call(
            "evaluation.abnormality_scores",
            evaluation.abnormality_scores,
            lambda: {
                **{"model": vision(), "normal": IMAGES[:4], "images": IMAGES},
                **{"k": 2, "num_components": 2, "num_masks": 2, "mask_ratio": 0.5},
                **{"pooling": "mean", "fraction": 0.5, "seed": 0, "batch_size": 3},
                **{"standardize": True},
            },
            also=(*seeds, ("normal", "fewer_rows"), ("images", "*_rows")),
            aliases=(("normal", "images"), ("normal", "k")),
        ),
        Call(
            "evaluation.hidden_patch_errors",
            evaluation.hidden_patch_errors,
            lambda: {
                **{"model": vision(), "images": IMAGES, "num_masks": 2, "mask_ratio": 0.5},
                **{"seed": 0, "batch_size": 3},
            },
            also=seeds,
        ),
        Call(
            "evaluation.masked_losses",
            evaluation.masked_losses,
            lambda: {"model": vision(), "images": IMAGES, "num_masks": 2, "batch_size": 3},
        ),
        Call(
            "evaluation.map_scores",
            evaluation.map_scores,
            lambda: {"maps": FLOATS[..., 0], "fraction": 0.5},
            also=(("maps", "*"),),
        ),
        Call(
            "evaluation.neighbor_distances",
            evaluation.neighbor_distances,
            lambda: {"normal_features": ROWS, "features": ROWS[:6], "k": 3},
        ),
        Call(
            "evaluation.mahalanobis_distances",
            evaluation.mahalanobis_distances,
            lambda: {"normal_features": ROWS, "features": ROWS[:6]},
        ),
        Call(
            "evaluation.pca_errors",
            evaluation.pca_errors,
            lambda: {
                **{"normal_features": ROWS, "features": ROWS[:6]},
                **{"num_components": 2, "seed": 0},
            },
            also=seeds,
        ),
        Call(
            "evaluation.abnormality_report",
            evaluation.abnormality_report,
            lambda: {
                **{"labels": np.arange(6) % 2, "scores": {"a": np.arange(6.0)}},
                **{"masks": HOLES.astype("int64"), "maps": {"a": FLOATS[..., 0]}},
                **{"groups": np.arange(6), "confidence": 0.9, "resamples": 100, "seed": 0},
            },
            also=(*seeds, ("groups", "*")),
            aliases=(("labels", "scores"), ("labels", "masks")),
        ),
        Call(
            "evaluation.screening_report",
            evaluation.screening_report,
            lambda: {
                **{"labels": np.arange(24) % 2, "probabilities": PROBABILITIES[:, 0]},
                **{"threshold": 0.5, "specificity": 0.9, "sensitivity": 0.9, "num_bins": 5},
                **{"groups": np.arange(24) // 2, "confidence": 0.9, "resamples": 100, "seed": 0},
            },
            also=(*seeds, ("groups", "*"), ("threshold", "*")),
            aliases=(("labels", "probabilities"),),
        ),
        Call(
            "evaluation.choose_threshold",
            evaluation.choose_threshold,
            lambda: {
                **{"labels": np.arange(24) % 2, "probabilities": PROBABILITIES[:, 0]},
                "specificity": 0.9,
            },
            aliases=(("labels", "probabilities"),),
        ),
        Call(
            "evaluation.fit_temperature",
            evaluation.fit_temperature,
            lambda: {"labels": CLASSES, "probabilities": PROBABILITIES},
            aliases=(("labels", "probabilities"),),
        ),
        Call(
            "evaluation.apply_temperature",
            evaluation.apply_temperature,
            lambda: {"probabilities": PROBABILITIES, "temperature": 2.0},
            also=(("temperature", "huge"),),
        ),
        Call(
            "evaluation.localization",
            evaluation.localization,
            lambda: {"maps": FLOATS[..., 0], "regions": HOLES.astype("int64")},
        ),
        Call(
            "evaluation.map_correlations",
            evaluation.map_correlations,
            lambda: {"maps": FLOATS[..., 0], "others": FLOATS[::-1, ..., 0].copy()},
        ),
        Call(
            "evaluation.patch_maps",
            evaluation.patch_maps,
            lambda: {"values": ROWS[:, :4], "patch_size": 2, "image_shape": (4, 4, 1)},
            also=(("values", "*"),),
            aliases=(("patch_size", "values"), ("image_shape", "values")),
        ),
        Call(
            "evaluation.expected_calibration_error",
            evaluation.expected_calibration_error,
            lambda: {
                "confidence": PROBABILITIES.max(1),
                "correct": CLASSES == 0,
                "num_bins": 5,
            },
        ),
        Call(
            "evaluation.embed_2d",
            evaluation.embed_2d,
            lambda: {"features": ROWS, "method": "pca", "seed": 0, "max_samples": 20},
            also=(*seeds, ("max_samples", "huge")),
        ),
        Call(
            "evaluation.class_notes",
            evaluation.class_notes,
            lambda: {
                "train_labels": CLASSES,
                "test_labels": CLASSES,
                "class_names": ("a", "b", "c"),
            },
            also=(("class_names", "misspelled"),),
            aliases=(("train_labels", "class_names"), ("test_labels", "class_names")),
        ),
        Call(
            "evaluation.fraction_rows",
            evaluation.fraction_rows,
            lambda: {"labels": CLASSES, "fraction": 0.5, "seed": 0},
            also=seeds,
        ),
        Call(
            "evaluation.accuracy_interval",
            evaluation.accuracy_interval,
            lambda: {"accuracy": 0.5, "n": 100, "confidence": 0.95},
            also=(("n", "huge"),),
        ),
        Call(
            "evaluation.membership_attack",
            evaluation.membership_attack,
            lambda: {
                "member_losses": np.array([0.1, 0.2, 0.3]),
                "other_losses": np.array([0.2, 0.3, 0.4, 0.5]),
                "false_positive_rate": 0.1,
                "num_bootstraps": 10,
                "seed": 0,
            },
            lambda result: result.auc,
            also=(("member_losses", "*"), ("other_losses", "*")),
        ),
        Call(
            "evaluation.mean_interval",
            evaluation.mean_interval,
            lambda: {"values": (0.5, 0.6, 0.7), "confidence": 0.95},
            also=(("values", "negative"), ("values", "huge")),
        ),
        Call(
            "evaluation.random_boxes",
            evaluation.random_boxes,
            lambda: {**boxes, "fraction": 0.2},
            also=seeds,
        ),
        Call(
            "evaluation.random_patches",
            evaluation.random_patches,
            lambda: {**boxes, "patch_size": 2, "mask_ratio": 0.5},
            also=seeds,
        ),
        Call(
            "evaluation.random_scratches",
            evaluation.random_scratches,
            lambda: {**boxes, "num_scratches": 2, "width": 1.5},
            also=seeds,
        ),
        Call(
            "evaluation.is_restorable",
            evaluation.is_restorable,
            lambda: {**holed, "grid": (4, 4)},
            aliases=(("images", "grid"),),
        ),
        Call("evaluation.mean_fill", evaluation.mean_fill, lambda: dict(holed)),
        Call("evaluation.frame_fill", evaluation.frame_fill, lambda: dict(holed)),
        Call("evaluation.biharmonic_fill", evaluation.biharmonic_fill, lambda: dict(holed)),
        Call(
            "evaluation.score_filled",
            evaluation.score_filled,
            lambda: {"filled": FLOATS + 1, **holed, "span": 255.0},
        ),
        Call(
            "evaluation.restoration_scores",
            evaluation.restoration_scores,
            lambda: {"model": vision(), **holed, "fillers": ("mean",), "batch_size": 4},
        ),
        Call(
            "evaluation.trivial_losses",
            evaluation.trivial_losses,
            lambda: {
                "train_targets_mean": targets.mean(0),
                "targets": targets,
                "patch_mask": MASKS16,
                "grid": (4, 4),
                "channels": 1,
                "missing_mask": ~MASKS16,
            },
        ),
        Call(
            "evaluation.robustness",
            evaluation.robustness,
            lambda: {
                "predict": lambda images: np.arange(len(images)) % 3,
                "images": IMAGES,
                "labels": np.arange(6) % 3,
                **corrupted,
            },
            aliases=(("kinds", "kind"), ("strengths", "strength"), ("images", "value_range")),
        ),
        Call(
            "evaluation.corruption_curves",
            evaluation.corruption_curves,
            lambda: {"measure": lambda x, y: 1.0, "images": IMAGES, **corrupted},
            aliases=(("kinds", "kind"), ("strengths", "strength"), ("images", "value_range")),
        ),
        Call(
            "evaluation.FineTuneSettings",
            evaluation.FineTuneSettings,
            lambda: {
                "epochs": 3,
                "batch_size": 8,
                "base_learning_rate": 1e-3,
                "layer_decay": 0.75,
                "weight_decay": 0.05,
                "warmup_epochs": 1.0,
                "drop_path_rate": 0.1,
                "label_smoothing": 0.1,
                "ema_momentum": 0.99,
                "train_blocks": 1,
            },
        ),
    ]


def _data_calls() -> list[Call]:
    batches = {"batch_size": 4, "seed": 0, "epochs": 2, "start_epoch": 0}
    far = (("epochs", "huge"), ("start_epoch", "huge"), ("seed", "negative"), ("epochs", "none"))
    crops = {"crop_scale": (0.2, 1.0), "crop_ratio": (0.75, 1.33)}

    def augmented(augmentation: Any) -> Any:
        return data.augment(FLOATS, augmentation, seed=(1, 2))

    def rows(made: Any) -> Any:
        return made.arrays()[0]

    return [
        Call(
            "data.ArraySplit",
            data.ArraySplit,
            lambda: {"images": IMAGES, "labels": np.arange(6)},
            rows,
            also=(("labels", "complex"), ("labels", "text")),
        ),
        Call(
            "data.LogMel",
            data.LogMel,
            lambda: {
                **{"sample_rate": 8000, "num_mels": 16, "window_ms": 25.0, "hop_ms": 10.0},
                **{"low_hz": 20.0, "high_hz": 4000.0, "floor_db": -60.0, "frames": 8},
            },
            lambda log_mel: log_mel(np.sin(np.arange(2000.0))),
        ),
        Call(
            "data.FrameSampling",
            data.FrameSampling,
            lambda: {"frames": 4, "frame_step": 2, "frame_rate": 25.0},
            lambda sampling: sampling.chosen(20),
        ),
        Call(
            "data.FrameSplit",
            data.FrameSplit,
            lambda: {
                "split": data.ArraySplit(np.zeros((4, 6, 8, 8, 1), "uint8"), np.arange(4)),
                "sampling": data.FrameSampling(2, frame_step=2),
            },
            rows,
        ),
        Call(
            "data.SelectedSplit",
            data.SelectedSplit,
            lambda: {"split": split(), "rows": np.arange(6)},
            rows,
        ),
        Call("data.Augmentation", data.Augmentation, lambda: dict(crops), augmented),
        Call(
            "data.augment",
            data.augment,
            lambda: {"images": FLOATS, "augmentation": data.Augmentation(), "seed": (1, 2)},
            also=(("seed", "negative"),),
        ),
        Call(
            "data.SignalAugmentation",
            data.SignalAugmentation,
            lambda: {"crop": (0.5, 1.0), "reverse": True, "scale": 0.1, "jitter": 0.1},
            lambda made: made.apply(FLOATS[:, :, 0], seed=(1, 2)),
        ),
        Call(
            "data.SoundAugmentation",
            data.SoundAugmentation,
            lambda: {"time_mask": 0.2, "frequency_mask": 0.2},
            lambda made: made.apply(FLOATS, seed=(1, 2)),
        ),
        Call(
            "data.VideoAugmentation",
            data.VideoAugmentation,
            lambda: {**crops, "crop_scale": (0.5, 1.0)},
            lambda made: made.apply(FLOATS[:, None], seed=(1, 2)),
        ),
        Call(
            "data.VolumeAugmentation",
            data.VolumeAugmentation,
            lambda: {"flip_axes": ("depth", "width")},
            lambda made: made.apply(FLOATS[:, :, :, None], seed=(1, 2)),
        ),
        Call(
            "data.SegmentationSplit",
            data.SegmentationSplit,
            lambda: {"images": IMAGES, "masks": IMAGES[..., 0] % 3},
            lambda made: made.tiles(4),
        ),
        Call(
            "data.load_table",
            data.load_table,
            lambda: {
                "table": _table().frame,
                "label": "class",
                "kinds": {"age": "number"},
                "numbers": "standard",
                "max_categories": 8,
                "min_count": 1,
            },
            lambda table: table.labels,
        ),
        Call(
            "data.TableColumn",
            data.TableColumn,
            lambda: {"name": "age", "kind": "number", "mean": 40.0, "std": 10.0},
            fixed=("name",),
            also=(("mean", "negative"),),
        ),
        Call(
            "data.TableSchema",
            data.TableSchema,
            lambda: {"columns": [{"name": "age", "kind": "number"}]},
        ),
        Call(
            "data.load_segmentation",
            data.load_segmentation,
            lambda: {
                "images": np.repeat(IMAGES, 4, axis=0)
                + np.arange(24, dtype="uint8")[:, None, None, None],
                "masks": np.repeat(IMAGES[..., 0] % 3, 4, axis=0),
                "classes": ["a", "b", "c"],
                "unlabeled": 9,
                "splits": (0.5, 0.25, 0.25),
                "gap": 1,
            },
            also=(("unlabeled", "negative"),),
        ),
        Call(
            "data.segmentation_batches",
            data.segmentation_batches,
            lambda: {
                "split": data.SegmentationSplit(IMAGES, IMAGES[..., 0] % 3),
                **batches,
                "crop_size": 4,
                "patch_size": 2,
                "crops_per_image": 2,
                "augmentation": data.SegmentationAugmentation(),
                "value_range": (0, 255),
            },
            _first,
            also=(*far, ("augmentation", "none")),
        ),
        Call(
            "data.SegmentationAugmentation",
            data.SegmentationAugmentation,
            lambda: {
                "flip_axes": ("height", "width"),
                "quarter_turns": True,
                "max_rotation": 10.0,
                "scale": (0.8, 1.2),
                "elastic": 2.0,
                "elastic_spacing": 4,
                "brightness": 0.1,
                "contrast": 0.1,
            },
            lambda made: made.apply(IMAGES, IMAGES[..., 0], seed=(1, 2)),
        ),
        Call(
            "data.VolumeSettings",
            data.VolumeSettings,
            lambda: {
                "crop_size": (8, 16, 16),
                "spacing": (2.0, 1.0, 1.0),
                "window": (-1000.0, 400.0),
                "oriented": True,
            },
            lambda made: made.to_dict(),
            also=(("window", "negative"),),
        ),
        Call(
            "data.ClassificationAugmentation",
            data.ClassificationAugmentation,
            lambda: {
                **crops,
                "max_shift": 0.1,
                "max_rotation": 10.0,
                "num_ops": 2,
                "magnitude": 0.5,
                "erasing_rate": 0.25,
                "mixup_alpha": 0.8,
                "cutmix_alpha": 1.0,
            },
        ),
        Call(
            "data.default_augmentation",
            data.default_augmentation,
            lambda: {"name": "cifar10"},
            also=(("name", "*"),),
        ),
        Call(
            "data.corrupt",
            data.corrupt,
            lambda: {
                "images": IMAGES,
                "kind": "noise",
                "strength": 3,
                "seed": 0,
                "value_range": (0, 255),
                "first_index": 0,
            },
            also=(("first_index", "huge"),),
        ),
        Call(
            "data.balanced_split",
            data.balanced_split,
            lambda: {"split": split(), "seed": 0, "power": 1.0},
            rows,
        ),
        Call(
            "data.long_tailed",
            data.long_tailed,
            lambda: {"split": split(), "imbalance_ratio": 4.0, "seed": 0, "largest": 8},
            rows,
            also=(("largest", "huge"),),
        ),
        Call(
            "data.long_tailed_rows",
            data.long_tailed_rows,
            lambda: {"labels": CLASSES, "imbalance_ratio": 4.0, "seed": 0, "largest": 8},
            also=(("largest", "huge"),),
            aliases=(("labels", "largest"),),
        ),
        Call(
            "data.evaluation_batches",
            data.evaluation_batches,
            lambda: {"split": split(), "batch_size": 4},
            _first,
        ),
        Call(
            "data.training_batches",
            data.training_batches,
            lambda: {"split": split(), **batches, "start_step": 0, "multiple_of": 1},
            _first,
            also=far,
        ),
        Call(
            "data.labeled_batches",
            data.labeled_batches,
            lambda: {"split": split(), **batches, "num_classes": 3, "value_range": (0, 255)},
            _first,
            also=far,
        ),
        Call(
            "data.steps_per_epoch",
            data.steps_per_epoch,
            lambda: {"split": split(), "batch_size": 4, "multiple_of": 2},
        ),
    ]


def _figure_calls() -> list[Call]:
    shown = {"value_range": (0, 255), "max_rows": 2}
    masks = {"random": MASKS16[:2], "block": MASKS16[2:4]}
    points = {"encoder": ROWS[:, :2], "pixels": ROWS[:, 2:4]}

    def clips() -> dict[str, Any]:
        video = FLOATS.reshape(3, 2, 8, 8, 1)
        return {
            **{"clips": video, "prediction": video, "patch_mask": MASKS16.reshape(3, 32)},
            **{"patch_size": (1, 2, 2), **shown},
        }

    clipped = (("prediction", "infinite"), ("clips", "infinite"))

    def closed(figure: Any) -> None:
        import matplotlib.pyplot as plt

        plt.close(figure)

    def call(function: Callable[..., Any], make: Callable[[], dict[str, Any]], **more: Any) -> Call:
        name = f"figures.{function.__name__}"
        return Call(name, function, make, closed, **more)

    return [
        call(
            figures.reconstruction_figure,
            lambda: {
                "images": IMAGES,
                "patch_mask": MASKS16,
                "prediction": FLOATS,
                "patch_size": 2,
                **shown,
            },
            also=(("prediction", "infinite"),),  # clipped, as all beyond black and white
        ),
        call(
            figures.segmentation_figure,
            lambda: {
                **{"images": IMAGES, "masks": IMAGES[..., 0].astype("int32") % 3 - 1},
                **{"predictions": IMAGES[..., 0] % 2, "class_names": ("a", "b")},
                **{"num_classes": 2, **shown},
            },
            also=(("class_names", "misspelled"),),
        ),
        call(
            figures.spectrogram_figure,
            lambda: {
                **{"spectrograms": FLOATS, "patch_mask": MASKS16, "prediction": FLOATS},
                **{"patch_size": 2, "seconds_per_frame": 0.01},
                **{"frequencies": np.linspace(100, 4000, 8), "max_rows": 2},
            },
        ),
        call(
            figures.volume_figure,
            lambda: {
                **{"volumes": FLOATS.reshape(6, 4, 4, 4, -1), "patch_mask": MASKS16[:, :8]},
                **{"prediction": FLOATS.reshape(6, 4, 4, 4, -1), "patch_size": 2},
                **{"spacing": (2.0, 1.0, 1.0), "max_rows": 2, "value_range": (0.0, 1.0)},
            },
            also=(("prediction", "infinite"),),
        ),
        call(
            figures.video_figure,
            lambda: {**clips(), "seconds_per_frame": 0.1, "max_frames": 2},
            also=(*clipped, ("max_frames", "huge")),
            aliases=(("patch_size", "patch_mask"),),
        ),
        Call(
            "figures.video_frames",
            figures.video_frames,
            clips,
            also=clipped,
            aliases=(("patch_size", "patch_mask"),),
        ),
        call(
            figures.attention_figure,
            lambda: {
                "images": IMAGES,
                "attention": np.full((6, 2, 16), 1 / 16),
                "grid": (4, 4),
                **shown,
                "max_heads": 2,
            },
            aliases=(("images", "grid"),),
        ),
        call(
            figures.calibration_figure,
            lambda: {
                "confidence": np.array([0.2, 0.5, 0.9]),
                "accuracy": np.array([0.3, 0.5, 0.8]),
                "count": np.array([3, 5, 9]),
            },
        ),
        call(
            figures.confusion_figure,
            lambda: {"matrix": np.array([[3, 1], [0, 4]]), "class_names": ("a", "b")},
            also=(("class_names", "misspelled"),),
        ),
        call(
            figures.feature_map_figure,
            lambda: {"points": points, "labels": CLASSES, "class_names": ("a", "b", "c")},
            also=(("class_names", "misspelled"),),
            aliases=(("class_names", "labels"), ("labels", "points")),
        ),
        call(
            figures.label_fraction_figure,
            lambda: {"results": {"encoder": {0.1: (0.5, 0.4, 0.6), 1.0: (0.7, 0.6, 0.8)}}},
        ),
        call(
            figures.layer_curve_figure,
            lambda: {
                "accuracies": {"encoder": (0.3, 0.5)},
                "chosen": 1,
                "baselines": {"pixels": 0.4},
            },
        ),
        call(
            figures.loss_figure,
            lambda: {"history": {"loss": (1.0, 0.5)}, "baselines": {"mean": 0.9}},
        ),
        call(figures.mask_gallery, lambda: {"masks": masks, "grid": (4, 4)}),
        call(
            figures.robustness_figure,
            lambda: {"results": {"encoder": {"noise": {0: 0.9, 3: 0.5}}}, "chance": 0.1},
        ),
    ]


def _recipe_calls() -> list[Call]:
    options = {
        field.name: field.default
        for field in dataclasses.fields(runs.EvaluationOptions)
        if field.default is not None
    }
    settings = {
        field.name: field.default
        for field in dataclasses.fields(runs.Recipe)
        if field.default is not None and field.name != "dataset"
    }
    large = (("max_*", "huge"),)
    free = ("epochs", "max_train", "max_test", "num_seeds", "fine_tune_epochs")
    allowed = (*large, *((name, "huge") for name in free))
    return [
        Call("runs.Recipe", runs.Recipe, lambda: dict(settings), also=allowed),
        Call(
            "runs.EvaluationOptions",
            runs.EvaluationOptions,
            lambda: dict(options),
            also=allowed,
        ),
        Call("runs.DataOptions", runs.DataOptions, lambda: {"splits": (0.5, 0.25, 0.25)}),
        Call(
            "runs.FineTuneOptions",
            runs.FineTuneOptions,
            lambda: {
                field.name: field.default
                for field in dataclasses.fields(runs.FineTuneOptions)
                if field.default not in (None, dataclasses.MISSING)
            },
            also=allowed,
        ),
        Call(
            "runs.SegmentOptions",
            runs.SegmentOptions,
            lambda: {
                field.name: field.default
                for field in dataclasses.fields(runs.SegmentOptions)
                if field.default is not None
            },
            also=(("steps", "huge"), ("batch_size", "huge")),
        ),
        Call(
            "runs.find_recipe",
            runs.find_recipe,
            lambda: {"name": "digits"},
            aliases=(("name", "recipe"),),
        ),
        Call(
            "runs.adapt",
            runs.adapt,
            lambda: {"recipe": runs.Recipe(), "mask_ratio": 0.5, "patch_size": 2},
        ),
    ]


@functools.cache
def _checkpoint() -> tuple[MaskedAutoencoder, tempfile.TemporaryDirectory]:
    """A model, and a folder with its weights as PyTorch's."""
    folder = tempfile.TemporaryDirectory()
    sizes = {"num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 3), 2, seed=0, **sizes)
    interop.save_torch_weights(model, pathlib.Path(folder.name) / "vit")
    return model, folder


def _interop_calls() -> list[Call]:
    def loading() -> dict[str, Any]:
        model, folder = _checkpoint()
        return {"model": model, "path": f"{folder.name}/vit", "prefix": "", "max_bytes": 10**9}

    def in_a_folder(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            before = os.getcwd()
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                try:
                    return function(**arguments)
                finally:
                    os.chdir(before)

        return call

    def without_converting(
        function: Callable[..., Any], converter: str, folder: bool = False
    ) -> Callable[..., Any]:
        """An export up to where the work begins."""

        def export(**arguments: Any) -> Any:
            # Where a folder is written, in place of giving its bytes, it is the second argument.
            made = {"side_effect": lambda *given: os.mkdir(given[1]) if folder else b""}
            with unittest.mock.patch(f"mae_keras.interop.{converter}", **made):
                return function(**arguments, verify=False)

        return in_a_folder(export)

    tolerance = (("tolerance", "huge"),)
    known = (("max_bytes", "huge"), ("prefix", "empty"))
    return [
        Call(
            "interop.export_saved_model",
            without_converting(
                interop.export_saved_model, "saved_model.write_saved_model", folder=True
            ),
            lambda: {
                "model": vision(),
                "path": "saved_model",
                "signatures": ("encode",),
                "tolerance": 1e-5,
            },
            also=(*tolerance, ("path", "misspelled"), ("path", "upper")),
        ),
        Call(
            "interop.export_onnx",
            without_converting(interop.export_onnx, "onnx._convert"),
            lambda: {
                "model": vision(),
                "path": "model.onnx",
                "signature": "encode",
                "tolerance": 1e-4,
            },
            also=tolerance,
            aliases=(("signature", "signatures"),),
        ),
        Call(
            "interop.export_litert",
            without_converting(interop.export_litert, "litert._convert"),
            lambda: {
                "model": vision(),
                "path": "model.tflite",
                "signatures": ("encode",),
                "tolerance": 1e-4,
            },
            also=tolerance,
        ),
        Call(
            "interop.load_torch_weights",
            interop.load_torch_weights,
            loading,
            lambda _: None,
            also=known,
        ),
        Call(
            "interop.model_from_torch",
            interop.model_from_torch,
            lambda: {
                **{name: value for name, value in loading().items() if name != "model"},
                "kind": "encoder",
                "image_shape": (8, 8, 3),
                "num_heads": 2,
                "decoder_num_heads": _checkpoint()[0].decoder.num_heads,
                "mask_ratio": 0.5,
            },
            lambda _: None,
            also=known,
        ),
        Call(
            "interop.save_torch_weights",
            in_a_folder(interop.save_torch_weights),
            lambda: {"model": _checkpoint()[0], "path": "vit"},
            also=(("path", "misspelled"), ("path", "upper")),
        ),
    ]


# --- oracles ------------------------------------------------------------------------------------


def check_model(seed: int, number: int, kind: str) -> tuple[str, str]:
    """Build a random valid model and check what must hold for every one of them."""
    rng = random.Random(f"{seed}|{number}")
    model, config = _random_model(rng)
    shape = (5, *model.image_shape)
    images = np.random.default_rng(rng.randrange(2**31)).integers(0, 256, shape).astype("uint8")
    try:
        for check in (_encoding, _composite, _blindness):
            check(model, images)
        with tempfile.TemporaryDirectory() as folder:
            _saving(model, images, pathlib.Path(folder), kind == "exported")
    except AssertionError as error:
        return "silent", f"{config}: {error}"
    return "ok", ""


def _random_model(rng: random.Random) -> tuple[Any, dict[str, Any]]:
    rank = rng.randint(1, 3)
    patch = tuple(rng.randint(1, 3) for _ in range(rank))
    shape = tuple(size * rng.randint(2, 3) for size in patch)
    width = rng.choice([16, 24])
    config = {
        "image_shape": (*shape, rng.randint(1, 3)),
        "patch_size": patch,
        "hidden_dim": width,
        "num_heads": 2,
        "num_layers": rng.randint(1, 2),
        "use_class_token": rng.random() < 0.5,
        "position_embedding": rng.choice(["sincos", "learned"]),
        "decoder_hidden_dim": rng.choice([16, 24]),
        "decoder_num_heads": 2,
        "decoder_num_layers": 1,
        "decoder_attention": rng.choice(["self", "cross"]),
        "masking": rng.choice(["random", "block", "grid"]),
        "mask_ratio": 0.5,
        "normalize_targets": rng.random() < 0.5,
        "loss_on": rng.choice(["hidden", "all"]),
        "mean": rng.uniform(0.2, 0.8),
        "std": rng.uniform(0.1, 0.5),
        "seed": rng.randrange(1000),
    }
    keras.utils.set_random_seed(rng.randrange(2**31))
    model = MaskedAutoencoder.from_preset("nano", **config)
    model.compile("sgd", run_eagerly=True)
    return model, config


def _close(name: str, actual: Any, expected: Any, atol: float = 1e-4) -> None:
    np.testing.assert_allclose(actual, expected, atol=atol, rtol=1e-4, err_msg=name)


def _encoding(model: Any, images: np.ndarray) -> None:
    features = model.encode(images)
    _close("encode depends on the batch size", model.encode(images, batch_size=2), features)
    _close("encode depends on the order", model.encode(images[::-1])[::-1], features)
    _close("encode depends on neighbors", model.encode(images[2:3]), features[2:3])


def _composite(model: Any, images: np.ndarray) -> None:
    made = model.reconstruct(images)
    hidden = np.repeat(
        made.patch_mask[..., None], math.prod(model.patch_size) * images.shape[-1], -1
    )
    hidden = keras.ops.convert_to_numpy(ops.unpatchify(hidden, model.patch_size, model.image_shape))
    np.testing.assert_array_equal(made.pasted[~hidden], images[~hidden], "visible pixels changed")
    np.testing.assert_array_equal(made.pasted[hidden], made.prediction[hidden], "hidden pixels")


def _blindness(model: Any, images: np.ndarray) -> None:
    """Predictions at hidden patches do not depend on what is hidden."""
    made = model.predict_patches(images)
    patches = keras.ops.convert_to_numpy(ops.patchify(images, model.patch_size)).copy()
    patches[made.patch_mask] = 255 - patches[made.patch_mask]
    changed = keras.ops.convert_to_numpy(
        ops.unpatchify(patches, model.patch_size, model.image_shape)
    )
    other = model.predict_patches(changed, made.patch_mask)
    _close("hidden pixels are seen", other.predictions, made.predictions)
    if model.loss_on == "hidden":
        loss = losses.MaskedReconstructionLoss()
        weights = losses.reconstruction_weights(made.patch_mask)
        wrong = np.where(made.patch_mask[..., None], made.targets, made.targets + 9)
        _close(
            "the loss sees visible targets",
            float(loss(wrong, made.predictions, weights)),
            float(loss(made.targets, made.predictions, weights)),
        )


def _saving(model: Any, images: np.ndarray, folder: pathlib.Path, exported: bool) -> None:
    features = model.encode(images)
    model.save(folder / "model.keras")
    loaded = models.load_model(folder / "model.keras")
    _close("a saved model differs", loaded.encode(images), features)
    again, made = loaded.reconstruct(images), model.reconstruct(images)
    np.testing.assert_array_equal(again.patch_mask, made.patch_mask, "masks of a saved model")
    _close("reconstructions of a saved model", again.prediction, made.prediction, atol=1e-2)
    if exported:
        import tensorflow as tf

        model.export(str(folder / "exported"))
        served = tf.saved_model.load(str(folder / "exported")).signatures["encode"]
        (name,) = served.structured_input_signature[1]
        _close("a SavedModel differs", served(**{name: tf.constant(images)})["features"], features)
