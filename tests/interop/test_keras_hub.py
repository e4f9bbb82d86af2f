"""Encoders as KerasHub backbones."""

import sys

import keras
import numpy as np
import pytest

from mae_keras.interop import to_keras_hub


@pytest.fixture(scope="module")
def keras_hub():
    return pytest.importorskip("keras_hub", reason="pip install 'mae_keras[keras-hub]'")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position_embedding": "learned"},
        {"use_class_token": False, "value_range": (-1, 3), "mean": 0.3, "std": 0.2},
        {"image_shape": (8, 12, 3), "patch_size": (2, 4), "std": (0.2, 0.5, 1.0)},
        {"image_shape": (8, 8, 3), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.5, 1.0)},
    ],
    ids=["as the paper", "learned positions", "no class token", "rectangle", "constants"],
)
def test_tokens_are_those_of_the_encoder(keras_hub, make_tiny, options):
    model = make_tiny(**options)
    backbone = to_keras_hub(model)
    assert isinstance(backbone, keras_hub.models.ViTBackbone)
    low, high = model.value_range
    images = np.random.default_rng(0).uniform(low, high, (3, *model.image_shape)).astype("float32")
    live = keras.ops.convert_to_numpy(model.encoder(images))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(backbone(images)), live, atol=1e-5 * np.abs(live).max()
    )


def test_the_backbone_has_weights_of_its_own(keras_hub, make_tiny, images):
    model = make_tiny()
    backbone = to_keras_hub(model.encoder)
    before = keras.ops.convert_to_numpy(backbone(images))
    model.encoder.norm.gamma.assign(2 * model.encoder.norm.gamma)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(backbone(images)), before)


def test_other_numbers_of_axes_are_refused(make_tiny):
    with pytest.raises(ValueError, match=r"two spatial axes. Received: image_shape=\(16, 2\)"):
        to_keras_hub(make_tiny((16, 2), 4))


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="must be a ViTEncoder or have one"):
        to_keras_hub(keras.Sequential())


def test_a_missing_library_is_named_with_its_extra(make_tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"pip install '.*\[keras-hub\]'"):
        to_keras_hub(make_tiny())
