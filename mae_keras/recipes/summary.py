"""Words for the numbers of a run. Light: imports nothing heavy."""

from typing import Any

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
    """
    loss, baselines = metrics["hidden_loss"], metrics["baseline_loss"]
    unbeaten = [name for name, value in baselines.items() if not loss < value]
    if unbeaten:
        first = f"The run does not beat {_joined(unbeaten)} in reconstruction"
    else:
        first = "The run beats all the trivial predictors"
    probe = metrics.get("linear_probe_accuracy")
    if not probe:
        return f"{first}."
    rest = {name: value for name, value in probe.items() if name != "trained"}
    ahead = [name for name, value in rest.items() if probe["trained"] > value]
    behind = [name for name in rest if name not in ahead]
    words = {"untrained": "the untrained encoder", "pixels": "raw pixels"}
    parts = []
    if ahead:
        parts.append(f"beat {_joined([words[name] for name in ahead])}")
    if behind:
        parts.append(f"do not beat {_joined([words[name] for name in behind])}")
    return f"{first}, and its features {' but '.join(parts)} in the linear probe."


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
