"""Experiments: the only place where data, model and training meet. Loaded on first use."""

from mae_keras.lazy import lazy_names

_HOMES = {
    "Recipe": "base",
    "RECIPES": "catalogue",
    "adapt": "catalogue",
    "find_recipe": "catalogue",
    "pretrain": "pretraining",
    "score": "scoring",
    "summary": "report",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
