"""The package version in configs, and words when a config does not fit."""

import pytest

import mae_keras
from mae_keras.models import DenseMaskedAutoencoder, MaskedAutoencoder


@pytest.mark.parametrize("part", ["model", "encoder"])
def test_a_config_of_another_version_that_does_not_fit_names_both(make_tiny, part):
    config = {**make_tiny().get_config(), "mae_keras_version": "9.9"}
    (config if part == "model" else config["encoder"]["config"])["telepathy"] = True
    with pytest.raises(ValueError, match=rf"mae_keras 9\.9 .*mae_keras {mae_keras.__version__}"):
        MaskedAutoencoder.from_config(config)


def test_a_config_of_this_version_that_does_not_fit_blames_no_version():
    config = DenseMaskedAutoencoder((4, 4, 1)).get_config()
    with pytest.raises((TypeError, ValueError), match="telepathy") as error:
        DenseMaskedAutoencoder.from_config({**config, "telepathy": True})
    assert "was saved by" not in str(error.value)


def test_a_config_given_is_not_changed():
    config = DenseMaskedAutoencoder((4, 4, 1)).get_config()
    before = dict(config)
    DenseMaskedAutoencoder.from_config(config)
    assert config == before
