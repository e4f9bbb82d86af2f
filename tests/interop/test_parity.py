"""Loaded checkpoints compute what PyTorch computes with them.

The numbers were made by `scripts/golden/make_interop.py`; the weights are drawn from its seeds and
written here as each library writes them.
"""

import pathlib

import keras
import numpy as np
import pytest
from interop import golden_cases, torch_files

from mae_keras.interop import model_from_torch
from mae_keras.losses import MaskedReconstructionLoss, reconstruction_weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "interop.npz"
# float32 sums in different orders, through up to twenty blocks: measured 3e-6 at most.
TOLERANCE = 1e-4

to_numpy = keras.ops.convert_to_numpy
pytest.importorskip("safetensors")


def golden(name, key):
    with np.load(GOLDEN) as file:
        return file[f"{name}/{key}"]


def checkpoint(case, style, ending, folder):
    """A file of the case's weights, with the JSON files that Hugging Face puts beside it."""
    options = {key: case[key] for key in ("learned", "qkv_bias") if key in case}
    tensors = torch_files.meta_tensors(case["seed"], **options, **case["sizes"])
    if style == "meta":
        return torch_files.write(folder / f"checkpoint{ending}", tensors)
    heads = (*case["heads"], None)
    config = {
        "model_type": "vit_mae" if case["kind"] == "mae" else "vit",
        "num_attention_heads": heads[0],
        "decoder_num_attention_heads": heads[1],
        "layer_norm_eps": case["epsilon"],
        "norm_pix_loss": case.get("norm_pix_loss", False),
    }
    beside = {"config": config}
    if golden_cases.image_shape(case)[-1] == 3:
        mean, std = golden_cases.IMAGENET
        beside["preprocessor_config"] = {
            "image_mean": mean,
            "image_std": std,
            "rescale_factor": 1 / 255,
        }
    name = "pytorch_model" if ending == ".bin" else "model"
    file = torch_files.write(
        folder / f"{name}{ending}", torch_files.to_hugging_face(tensors), **beside
    )
    return file if ending == ".pth" else folder


def build(name, style, ending, folder):
    case = golden_cases.CASES[name]
    settings = {}
    if style == "meta":  # what no tensor tells
        settings = {"num_heads": case["heads"][0], "layer_norm_epsilon": case["epsilon"]}
        if case["kind"] == "mae":
            settings["decoder_num_heads"] = case["heads"][1]
            settings["normalize_targets"] = case["norm_pix_loss"]
        else:
            settings["image_shape"] = golden_cases.image_shape(case)
            settings["kind"] = "classifier" if "classes" in case["sizes"] else "encoder"
    model, report = model_from_torch(checkpoint(case, style, ending, folder), **settings)
    assert report.complete, str(report)
    return case, model


def assert_close(actual, name, key):
    case = golden_cases.CASES[name]
    actual = golden_cases.kept(case, to_numpy(actual)) if np.ndim(actual) else actual
    np.testing.assert_allclose(actual, golden(name, key), rtol=0, atol=TOLERANCE)


def check_autoencoder(name, style, ending, folder):
    case, model = build(name, style, ending, folder)
    patches, _ = model.to_patches(keras.ops.convert_to_tensor(golden_cases.images(case)))
    hidden = golden_cases.patch_mask(case)
    seen = np.nonzero(~hidden)[1].reshape(case["batch"], -1)
    tokens = to_numpy(model.encoder.encode_patches(patches, hidden=hidden))
    tokens = np.concatenate(
        [tokens[:, :1], np.take_along_axis(tokens[:, 1:], seen[..., None], axis=1)], axis=1
    )
    assert_close(tokens, name, "tokens")
    predictions = model({"patches": patches, "patch_mask": keras.ops.convert_to_tensor(hidden)})
    assert_close(predictions, name, "predictions")
    weights = reconstruction_weights(keras.ops.convert_to_tensor(hidden))
    loss = MaskedReconstructionLoss()(model.to_targets(patches), predictions, weights)
    assert_close(float(loss), name, "loss")


SMALL = [name for name, case in golden_cases.CASES.items() if case["kind"] == "mae"][1:]


@pytest.mark.slow
@pytest.mark.parametrize("ending", torch_files.ENDINGS)
@pytest.mark.parametrize("style", ["meta", "hugging_face"])
@pytest.mark.parametrize("name", SMALL)
def test_autoencoders_give_equal_tokens_predictions_and_losses(name, style, ending, tmp_path):
    check_autoencoder(name, style, ending, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "style, ending",
    [
        ("meta", ".pth"),
        pytest.param("hugging_face", ".safetensors", marks=pytest.mark.long),
        pytest.param("hugging_face", ".bin", marks=pytest.mark.long),
    ],
)
def test_a_base_autoencoder_gives_equal_tokens_predictions_and_loss(style, ending, tmp_path):
    check_autoencoder("mae_base", style, ending, tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_a_fine_tuned_base_classifier_gives_equal_logits(tmp_path):
    name = "timm_base_classifier"
    case, model = build(name, "meta", ".pth", tmp_path)
    assert_close(model(golden_cases.images(case)), name, "logits")


def test_an_encoder_of_rectangles_without_a_class_token_gives_equal_tokens(tmp_path):
    name = "timm_rectangle_without_token"
    case, model = build(name, "meta", ".pth", tmp_path)
    assert_close(model(keras.ops.convert_to_tensor(golden_cases.images(case))), name, "tokens")


@pytest.mark.parametrize(
    "name, style, ending",
    [
        ("timm_token_two_channels", "meta", ".safetensors"),
        ("hugging_face_classifier", "hugging_face", ".safetensors"),
    ],
)
def test_classifiers_on_the_class_token_give_equal_logits(name, style, ending, tmp_path):
    case, model = build(name, style, ending, tmp_path)
    assert_close(model(golden_cases.images(case)), name, "logits")
