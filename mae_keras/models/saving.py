"""Saving models so that a crash never costs the previous file."""

import contextlib
import os
import time
import types
import zipfile
from collections.abc import Iterator
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
        with alone(), replacing(path) as aside, _one_date_in_archives():
            super().save(str(aside), **kwargs)
        return None


@contextlib.contextmanager
def _one_date_in_archives() -> Iterator[None]:
    """Date what is zipped 1 January 1980, whatever the clock says."""
    # `zipfile` raises before 1980 and after 2107, where clocks without a battery start; Keras
    # lets nobody choose the date.
    date = time.struct_time((1980, 1, 1, 0, 0, 0, 1, 1, 0))
    zipfile.time = types.SimpleNamespace(  # type: ignore[attr-defined]
        time=lambda: 0.0, localtime=lambda *_: date
    )
    try:
        yield
    finally:
        zipfile.time = time  # type: ignore[attr-defined]
