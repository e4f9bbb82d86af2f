"""Experiments: the only place where data, model and training meet. Loaded on first use."""

from mae_keras.lazy import lazy_names

_HOMES = {
    "Comparison": "comparison",
    "DataOptions": "data_options",
    "EvaluationOptions": "protocols",
    "FineTuneOptions": "fine_tune_options",
    "PROTOCOLS": "protocols",
    "Recipe": "base",
    "RECIPES": "catalogue",
    "Saving": "fitting",
    "adapt": "catalogue",
    "evaluate_run": "evaluating",
    "evaluation_table": "evaluation_report",
    "fine_tune_run": "fine_tuning",
    "find_recipe": "catalogue",
    "import_checkpoint": "importing",
    "model_card": "cards",
    "predict_files": "predicting",
    "pretrain": "pretraining",
    "score": "scoring",
    "summary": "report",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
