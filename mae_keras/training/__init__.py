"""Optimizer, schedules, callbacks and the folder of a run."""

from mae_keras.training.callbacks import MaskRatioScheduler as MaskRatioScheduler
from mae_keras.training.callbacks import NonFiniteError as NonFiniteError
from mae_keras.training.callbacks import ReconstructionCallback as ReconstructionCallback
from mae_keras.training.callbacks import StopAtNonFinite as StopAtNonFinite
from mae_keras.training.callbacks import reconstruction_of as reconstruction_of
from mae_keras.training.class_weights import class_weights as class_weights
from mae_keras.training.lars import LARS as LARS
from mae_keras.training.layer_decay import LayerDecayAdamW as LayerDecayAdamW
from mae_keras.training.layer_decay import fine_tuning_optimizer as fine_tuning_optimizer
from mae_keras.training.optimizers import MaskedAdamW as MaskedAdamW
from mae_keras.training.optimizers import pretraining_optimizer as pretraining_optimizer
from mae_keras.training.optimizers import warmup_cosine as warmup_cosine
from mae_keras.training.runs import RunCheckpoint as RunCheckpoint
from mae_keras.training.runs import RunFolder as RunFolder
from mae_keras.training.schedules import CosineMaskRatio as CosineMaskRatio
from mae_keras.training.schedules import LinearMaskRatio as LinearMaskRatio
from mae_keras.training.schedules import StepMaskRatio as StepMaskRatio
