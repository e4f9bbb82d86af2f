"""Optimizers, schedules, callbacks, and training on several devices."""

import importlib as _importlib
import warnings as _warnings
from types import ModuleType as _ModuleType
from typing import Any as _Any

from mae_keras.models.privacy import Privacy as Privacy
from mae_keras.runtime.batch_shards import shard_batches_across_cores as shard_batches_across_cores
from mae_keras.training.callbacks import CosineMaskRatio as CosineMaskRatio
from mae_keras.training.callbacks import LinearMaskRatio as LinearMaskRatio
from mae_keras.training.callbacks import MaskRatioScheduler as MaskRatioScheduler
from mae_keras.training.callbacks import NonFiniteError as NonFiniteError
from mae_keras.training.callbacks import OutOfMemoryError as OutOfMemoryError
from mae_keras.training.callbacks import ReconstructionCallback as ReconstructionCallback
from mae_keras.training.callbacks import StepMaskRatio as StepMaskRatio
from mae_keras.training.callbacks import StopAtNonFinite as StopAtNonFinite
from mae_keras.training.callbacks import explaining_out_of_memory as explaining_out_of_memory
from mae_keras.training.callbacks import reconstruction_of as reconstruction_of
from mae_keras.training.class_weights import class_weights as class_weights
from mae_keras.training.distribution import LostProcessError as LostProcessError
from mae_keras.training.distribution import distribute as distribute
from mae_keras.training.distribution import enable_determinism as enable_determinism
from mae_keras.training.distribution import exit_at_once as exit_at_once
from mae_keras.training.distribution import gather as gather
from mae_keras.training.distribution import is_writer as is_writer
from mae_keras.training.distribution import process_index as process_index
from mae_keras.training.distribution import shard as shard
from mae_keras.training.distribution import wait_for_all as wait_for_all
from mae_keras.training.online_probe import OnlineProbe as OnlineProbe
from mae_keras.training.optimizers import LARS as LARS
from mae_keras.training.optimizers import LayerDecayAdamW as LayerDecayAdamW
from mae_keras.training.optimizers import MaskedAdamW as MaskedAdamW
from mae_keras.training.optimizers import fine_tuning_optimizer as fine_tuning_optimizer
from mae_keras.training.optimizers import pretraining_optimizer as pretraining_optimizer
from mae_keras.training.optimizers import warmup_cosine as warmup_cosine

__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
)

_MOVED_TO_RUNS = (
    "Checkpoint",
    "CheckpointStore",
    "DamagedError",
    "Interrupted",
    "LockedError",
    "Progress",
    "RunCheckpoint",
    "RunFolder",
    "StopRequest",
    "fit_from",
    "load_checkpoint",
    "locked",
)


_RENAMED = {"use_branches": "shard_batches_across_cores"}


def __getattr__(name: str) -> _Any:
    if name in _RENAMED:
        _warnings.warn(
            f"mae_keras.training.{name} is deprecated: use mae_keras.training.{_RENAMED[name]}",
            DeprecationWarning,
            stacklevel=2,
        )
        return globals()[_RENAMED[name]]
    if name not in _MOVED_TO_RUNS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _warnings.warn(
        f"mae_keras.training.{name} has moved: use mae_keras.runs.{name}",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(_importlib.import_module("mae_keras.runs"), name)
