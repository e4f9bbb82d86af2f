"""Optimizer, schedules, callbacks and the folder of a run."""

from types import ModuleType as _ModuleType

from mae_keras.branches import use_branches as use_branches
from mae_keras.training.callbacks import MaskRatioScheduler as MaskRatioScheduler
from mae_keras.training.callbacks import ReconstructionCallback as ReconstructionCallback
from mae_keras.training.callbacks import reconstruction_of as reconstruction_of
from mae_keras.training.checkpoints import Checkpoint as Checkpoint
from mae_keras.training.checkpoints import CheckpointStore as CheckpointStore
from mae_keras.training.checkpoints import DamagedError as DamagedError
from mae_keras.training.checkpoints import load_checkpoint as load_checkpoint
from mae_keras.training.class_weights import class_weights as class_weights
from mae_keras.training.determinism import enable_determinism as enable_determinism
from mae_keras.training.distribution import LostProcessError as LostProcessError
from mae_keras.training.distribution import distribute as distribute
from mae_keras.training.distribution import exit_at_once as exit_at_once
from mae_keras.training.distribution import gather as gather
from mae_keras.training.distribution import is_writer as is_writer
from mae_keras.training.distribution import process_index as process_index
from mae_keras.training.distribution import shard as shard
from mae_keras.training.distribution import wait_for_all as wait_for_all
from mae_keras.training.lars import LARS as LARS
from mae_keras.training.layer_decay import LayerDecayAdamW as LayerDecayAdamW
from mae_keras.training.layer_decay import fine_tuning_optimizer as fine_tuning_optimizer
from mae_keras.training.locking import LockedError as LockedError
from mae_keras.training.locking import locked as locked
from mae_keras.training.nonfinite import NonFiniteError as NonFiniteError
from mae_keras.training.nonfinite import StopAtNonFinite as StopAtNonFinite
from mae_keras.training.optimizers import MaskedAdamW as MaskedAdamW
from mae_keras.training.optimizers import pretraining_optimizer as pretraining_optimizer
from mae_keras.training.optimizers import warmup_cosine as warmup_cosine
from mae_keras.training.out_of_memory import OutOfMemoryError as OutOfMemoryError
from mae_keras.training.out_of_memory import explaining_out_of_memory as explaining_out_of_memory
from mae_keras.training.partial_fit import fit_from as fit_from
from mae_keras.training.run_checkpoint import Progress as Progress
from mae_keras.training.run_checkpoint import RunCheckpoint as RunCheckpoint
from mae_keras.training.runs import RunFolder as RunFolder
from mae_keras.training.schedules import CosineMaskRatio as CosineMaskRatio
from mae_keras.training.schedules import LinearMaskRatio as LinearMaskRatio
from mae_keras.training.schedules import StepMaskRatio as StepMaskRatio
from mae_keras.training.stopping import Interrupted as Interrupted
from mae_keras.training.stopping import StopRequest as StopRequest

__all__ = sorted(
    name
    for name, value in globals().items()
    if not name.startswith("_") and not isinstance(value, _ModuleType)
)
