"""Words for the numbers of a run. Light: imports nothing heavy."""

from typing import Any

# A model of this package that has taken fewer steps has hardly begun to learn, whatever the data.
_FEW_STEPS = 1000

_BASELINES = {
    "mean_image": "the data set's mean patch at each place",
    "visible_mean": "the mean of the image's visible pixels",
    "nearest_visible": "the nearest visible patches",
}


def summary(metrics: dict[str, Any]) -> str:
    """The few lines printed when a run is done.

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        Several lines; the last is one sentence that says whether the run is any good.

    Example:
    >>> print(summary({"hidden_loss": 1.0, "baseline_loss": {"mean_image": 2.0}}))
    Hidden-patch loss on held-out images: 1
      mean_image            2      (the data set's mean patch at each place)
    The run beats all the trivial predictors.
    """
    lines = [f"Hidden-patch loss on held-out images: {metrics['hidden_loss']:.4g}"]
    for name, value in metrics["baseline_loss"].items():
        lines.append(f"  {name:<18} {value:>7.4g}      ({_BASELINES[name]})")
    for key, title in (("knn_accuracy", "20-NN"), ("linear_probe_accuracy", "Linear probe")):
        if metrics.get(key):
            scores = ", ".join(f"{name} {value:.1%}" for name, value in metrics[key].items())
            lines.append(f"{title} accuracy: {scores}")
    if metrics.get("images_per_second"):
        lines.append(
            f"{metrics['images_per_second']:,.0f} images/s, {metrics['compile_seconds']} s to "
            f"compile, {metrics['wall_seconds']} s in all"
        )
    return "\n".join([*lines, verdict(metrics)])


def verdict(metrics: dict[str, Any]) -> str:
    """One sentence: does the run beat what needs no training?

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        str.

    Example:
    >>> scores = {"trained": 0.9, "untrained": 0.5, "pixels": 0.95}
    >>> loss = {"hidden_loss": 1.0, "baseline_loss": {"mean_image": 2.0}}
    >>> verdict({**loss, "knn_accuracy": scores}).split("; ")[1]
    'its features beat untrained ones but not raw pixels in 20-NN.'
    """
    loss, baselines = metrics["hidden_loss"], metrics["baseline_loss"]
    unbeaten = [name for name, value in baselines.items() if not loss < value]
    first = (
        f"The run does not beat {_joined(unbeaten)} in reconstruction"
        if unbeaten
        else "The run beats all the trivial predictors"
    )
    parts = [
        f"{_comparison(metrics[key])} in {title}"
        for key, title in (("linear_probe_accuracy", "the linear probe"), ("knn_accuracy", "20-NN"))
        if metrics.get(key)
    ]
    said = f"{first}; its features {' and '.join(parts)}." if parts else f"{first}."
    return " ".join(filter(None, [said, few_steps(metrics.get("steps"))]))


def few_steps(steps: int | None) -> str:
    """A sentence on a run that is too short to be judged; empty for others.

    Args:
        steps: int, training steps of the whole run, or `None` where that is not known.

    Returns:
        str.

    Example:
    >>> few_steps(78)
    '78 steps are too few to learn much. Raise --epochs to reach 1,000 steps.'
    """
    if steps is None or steps >= _FEW_STEPS:
        return ""
    few = "1 step is" if steps == 1 else f"{steps} steps are"
    return f"{few} too few to learn much. Raise --epochs to reach {_FEW_STEPS:,} steps."


def _comparison(scores: dict[str, float]) -> str:
    words = {"untrained": "untrained ones", "pixels": "raw pixels", "pca": "their PCA"}
    words = {name: text for name, text in words.items() if name in scores}
    ahead = [words[name] for name in words if scores["trained"] > scores[name]]
    behind = [words[name] for name in words if words[name] not in ahead]
    if not ahead:
        return f"do not beat {_joined(behind)}"
    return f"beat {_joined(ahead)}" + (f" but not {_joined(behind)}" if behind else "")


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
