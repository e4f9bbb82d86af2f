"""Mistakes that `scripts/fuzz.py` found accepted, or refused without the argument's name."""

import numpy as np
import pytest

from mae_keras import (
    data,
    evaluation,
    interop,
    layers,
    losses,
    models,
    ops,
    training,
)
from mae_keras import (
    runs as recipes,
)

TOKENS = np.ones((2, 4, 1, 8), "float32")
MASK = np.array([[True, False], [False, True]])
RAGGED = [[True, False], [True]]


def autoencoder(**changes):
    sizes = {"num_layers": 1, "decoder_num_layers": 1, "hidden_dim": 16, "num_heads": 2}
    return models.MaskedAutoencoder.from_preset(
        **{"name": "nano", "image_shape": (4, 4, 1), "patch_size": 2, **sizes, **changes}
    )


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda: layers.dot_product_attention(TOKENS, TOKENS, TOKENS, np.ones((2, 3), bool)),
            r"`attention_mask` must have shape .*attention_mask.shape=\(2, 3\)",
        ),
        (
            lambda: layers.dot_product_attention(TOKENS, TOKENS, TOKENS, np.ones((4, 4), bool)),
            "`attention_mask` must have shape",
        ),
        (lambda: layers.PatchExtraction([2] * 5), "`patch_size` must be an int, or one for each"),
        (
            lambda: layers.PixelNormalization().adapt(np.zeros((2, 4, 4, 0))),
            r"`images` must have shape \(num_images",
        ),
        (lambda: losses.MaskedReconstructionLoss(reduction="men"), "`reduction` must be.*'mean'"),
        (lambda: losses.MaskedReconstructionLoss("square"), "`error` must be.*'squared'"),
        (lambda: autoencoder(dtype="flaot32"), "`dtype` must be a dtype.*'flaot32'"),
        (lambda: autoencoder(dtype=3), "`dtype` must be a dtype.*3"),
        (
            lambda: models.restoration.read_patch_mask(RAGGED, (2, 2), 2),
            "`patch_mask` must be one array",
        ),
        (
            lambda: models.checks.check_labels([[1], [1, 2]], 2, 3),
            "`labels` must be one array",
        ),
        (lambda: ops.counter_noise(0, 0, [[1], [1, 2]], 3), "`samples` must be one array"),
        (lambda: ops.restore_patches(TOKENS[:, :1, 0], MASK, None), "`fill` must be a number"),
        (
            lambda: ops.restore_patches(TOKENS[:1, :1, 0], MASK, 0.0),
            "`patch_mask` must have a row for each image of `visible`",
        ),
        (
            lambda: ops.covering_masks(8, 4, 10**20, 0, np.arange(3)),
            "`num_masks` must be an int fr",
        ),
        (
            lambda: losses.reconstruction_weights(MASK, [[1.0], [1.0, 2.0]]),
            "`sample_weight` must be one array",
        ),
        (
            lambda: models.checks.check_weights([[1.0], [1.0, 2.0]], 2),
            "`sample_weight` must be one array",
        ),
        (
            lambda: models.checks.read_missing(RAGGED, (2, 2, 2, 1)),
            "`missing` must be one array",
        ),
        (lambda: recipes.find_recipe(5), "`recipe` must be 'mnist-sample', 'digits', .*5"),
        (lambda: evaluation.pixel_features([[1.0, np.inf]]), "`images` must be finite"),
        (
            lambda: evaluation.trivial_losses(
                np.zeros((4, 1)),
                np.full((1, 4, 1), np.inf),
                np.ones((1, 4), bool),
                (2, 2),
                channels=1,
            ),
            "`targets` must be finite",
        ),
        (
            lambda: layers.PixelNormalization().adapt([np.zeros((2, 1)), np.zeros((3, 1))]),
            "`images` must be one array",
        ),
        (lambda: training.StepMaskRatio(None, (0.5,)), "`boundaries` must be a sequence of ints"),
        (
            lambda: training.pretraining_optimizer(
                1e-3, 8, 9, 1, gradient_accumulation_steps=10**20
            ),
            "`gradient_accumulation_steps` must be an int from",
        ),
        (lambda: interop.save_torch_weights(autoencoder(image_shape=(4, 4, 3)), ""), "`path` must"),
        (lambda: recipes.Recipe(preset="nanoo"), "`preset` must be 'nano', .*did you mean 'nano'"),
        (lambda: training.MaskedAdamW(weight_decay=None), "`weight_decay` must be a"),
        (
            lambda: data.augment(np.zeros((1, 4, 4, 1)), data.Augmentation(), (0, 10**20)),
            "`seed` must be 2 ints",
        ),
        (lambda: data.augment(np.zeros((1, 4, 4, 1)), None, (0, 1)), "`augmentation` must be an"),
        (
            lambda: evaluation.corruption_curves(len, np.zeros((1, 4, 4, 1)), strengths=3),
            "`strengths` must be a sequence",
        ),
        (lambda: evaluation.FineTuneSettings(epochs=10**20), "`epochs` must be an int from"),
        (lambda: interop.export_onnx(None, 5), "`path` must be a str or a path"),
        (lambda: interop.export_saved_model(None, None), "`path` must be a str or a path"),
        (lambda: interop.model_from_torch(None), "`path` must be a str or a path"),
        (
            lambda: interop.export_onnx(None, "a.onnx", tolerance=float("nan")),
            "`tolerance` must be a finite number",
        ),
        (lambda: interop.model_from_torch("a.pth", num_heads=[2]), "`num_heads` must be an int"),
        (
            lambda: interop.model_from_torch("a.pth", decoder_num_heads=10**20),
            "`decoder_num_heads` must be an int",
        ),
        (
            lambda: interop.model_from_torch("a.pth", mask_ratio=float("nan")),
            "`mask_ratio` must be a number in",
        ),
    ],
)
def test_the_error_names_the_argument(use, message):
    with pytest.raises((TypeError, ValueError), match=message):
        use()


def test_one_mask_still_serves_all_images():
    one = np.array([[True, True, False, False]])
    some = layers.dot_product_attention(TOKENS, TOKENS, TOKENS, one)
    np.testing.assert_allclose(
        some, layers.dot_product_attention(TOKENS, TOKENS, TOKENS, one.repeat(2, axis=0))
    )


@pytest.mark.parametrize("dtype", [None, "float32", "mixed_bfloat16"])
def test_dtypes_and_policies_that_keras_knows_are_taken(dtype):
    wanted = dtype or "float32"
    assert autoencoder(dtype=dtype).encoder.dtype_policy.name == wanted
