"""Saving models so that a crash never costs the previous file."""

import os
from typing import Any

from mae_keras.files import replacing
from mae_keras.replicas import alone


class SavedInOneStep:
    """Mixin of models, to stand before `keras.Model` among the bases."""

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """As `keras.Model.save`, but a crash while saving leaves the previous file whole.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool, whether an existing file is replaced. Defaults to `True`.
            **kwargs: passed to `keras.Model.save`.
        """
        path = os.fspath(filepath)
        if "://" in path or not path.endswith(".keras"):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        if os.path.exists(path) and not overwrite:
            raise ValueError(
                f"`filepath` exists and `overwrite` is False. Received: filepath={path!r}"
            )
        with alone(), replacing(path) as aside:
            super().save(str(aside), **kwargs)
        return None
