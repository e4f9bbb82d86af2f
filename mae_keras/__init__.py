"""mae_keras: masked autoencoders for Keras 3.

Packages are imported on first use, so that `import mae_keras` and the command line stay instant.
Keras knows the classes all the same: `keras.saving.load_model` finds them in either import order.
"""

import importlib
from typing import Any

from mae_keras.registration import register_on_import

__version__ = "0.1.0"

_PACKAGES = (
    "data",
    "evaluation",
    "figures",
    "interop",
    "layers",
    "losses",
    "models",
    "ops",
    "runs",
    "testing",
    "training",
)
__all__ = ["__version__", *_PACKAGES]

register_on_import()


def __getattr__(name: str) -> Any:
    if name in (*_PACKAGES, "recipes"):
        return importlib.import_module(f"mae_keras.{name}")
    raise AttributeError(f"module 'mae_keras' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
