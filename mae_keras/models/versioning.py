"""The package version inside the configs of models."""

from collections.abc import Sequence
from typing import Any

import keras

from mae_keras import __version__

VERSION_KEY = "mae_keras_version"


def with_version(config: dict[str, Any]) -> dict[str, Any]:
    """Add the package version to a model's config."""
    return {**config, VERSION_KEY: __version__}


def from_versioned_config(
    cls: type, config: dict[str, Any], children: Sequence[str] = ()
) -> keras.Model:
    """Rebuild a model from its config.

    Args:
        cls: class to build.
        config: as `get_config` gave it.
        children: keys whose values are serialised Keras objects.

    Returns:
        Instance of `cls`.

    Raises:
        ValueError: naming both versions if another version's config does not fit this one.
    """
    config = dict(config)
    version = config.pop(VERSION_KEY, None)
    try:
        for child in children:
            config[child] = keras.saving.deserialize_keras_object(config[child])
        return cls(**config)
    except (TypeError, ValueError) as error:
        if version == __version__:
            raise
        raise ValueError(
            f"This {cls.__name__} was saved by mae_keras {version or 'of unknown version'} and "
            f"does not fit mae_keras {__version__}, which is installed: {error}"
        ) from error
