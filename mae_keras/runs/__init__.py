"""Experiments and their folders: the only place where data, model and training meet.

Names load on first use.
"""

from mae_keras.files import lazy_names

_HOMES = {
    "CallbackError": "watching",
    "Checkpoint": "folder",
    "CheckpointStore": "folder",
    "Comparison": "comparison",
    "DamagedError": "folder",
    "DataOptions": "options",
    "EvaluationOptions": "protocols",
    "FineTuneOptions": "options",
    "Finding": "symptoms",
    "Interrupted": "resuming",
    "LockedError": "folder",
    "PROTOCOLS": "protocols",
    "Protocol": "protocols",
    "Progress": "resuming",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "RunCheckpoint": "resuming",
    "RunFolder": "folder",
    "Saving": "pretraining",
    "SegmentOptions": "masks",
    "StopRequest": "resuming",
    "adapt": "recipe",
    "audit_run": "audit",
    "audit_text": "audit",
    "diagnose": "doctor",
    "evaluate_run": "evaluating",
    "evaluation_table": "report",
    "find_recipe": "recipe",
    "fine_tune_run": "fine_tuning",
    "fit_from": "resuming",
    "import_checkpoint": "exporting",
    "load_callback": "watching",
    "load_checkpoint": "folder",
    "locked": "folder",
    "model_card": "report",
    "predict_files": "predicting",
    "pretrain": "pretraining",
    "register_protocol": "protocols",
    "register_recipe": "recipe",
    "score": "comparison",
    "segment_files": "segmenting",
    "segment_run": "segmenting",
    "summary": "report",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
