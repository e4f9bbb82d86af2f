"""The encoder that is given mask tokens."""

import keras
import numpy as np
import pytest

from mae_keras.models import MaskedAutoencoder
from mae_keras.ops import split_indices


def build(cls):
    from contenders.configurations import sizes_of
    from contenders.keras_side import make_model

    return make_model(sizes_of("nano8"), "float32", cls)


@pytest.mark.slow
def test_hidden_pixels_do_not_reach_the_predictions():
    from visible_only import EncodesAll

    model = build(EncodesAll)
    rng = np.random.default_rng(0)
    patches = rng.random((2, 16, 12), "float32")
    patch_mask = rng.permuted(np.tile(np.arange(16) < 12, (2, 1)), axis=1)
    changed = np.where(patch_mask[..., None], 7.0, patches)
    visible, hidden = split_indices(patch_mask, 4)

    def predicted(patches):
        return model._predict_patches(patches, patch_mask, visible, decoded_indices=hidden)[0]

    first = predicted(patches)
    assert first.shape == (2, 12, 12)
    np.testing.assert_array_equal(first, predicted(changed))
    visible_changed = np.where(patch_mask[..., None], patches, patches + 1.0)
    assert np.abs(predicted(visible_changed) - first).max() > 1e-3


@pytest.mark.slow
def test_it_has_the_weights_of_the_other_and_one_token_more():
    from visible_only import EncodesAll

    keras.utils.set_random_seed(0)
    assert build(EncodesAll).count_params() == build(MaskedAutoencoder).count_params() + 64


@pytest.mark.slow
@pytest.mark.long
def test_the_script_measures_the_smallest_size(capsys, tmp_path):
    from visible_only import main

    asked = ["--configs", "nano8", "--rounds", "1", "--seconds", "0.05"]
    (one,) = main([*asked, "--json", str(tmp_path / "told.json")])
    assert one["faster"] == pytest.approx(one["all_ms"] / one["visible_ms"])
    assert one["arrives"] == pytest.approx(one["faster"] / one["predicted"])
    # Encoder 4 layers on 5 or 17 tokens, decoder one on 17, and one where 12 of them go on.
    decoder = 17 + (3 * 17 + 5 * 12) / 8
    assert one["predicted"] == pytest.approx((4 * 17 + decoder) / (4 * 5 + decoder), rel=0.05)
    assert "| nano8, float32 |" in capsys.readouterr().out
    assert (tmp_path / "told.json").exists()
