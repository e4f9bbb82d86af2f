"""Words and a table for what an evaluation found. Light: imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

_DETAILS = (("k", "neighbors"), ("block", "block"), ("epochs", "epochs"))
RIVALS = ("trained", "untrained", "pca", "pixels")


def evaluation_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each protocol, a column for each encoder and rival.

    Args:
        entries: protocol to its entry of `evaluation.json`.

    Returns:
        Several lines, accuracies in percent; failures and notes come below.

    Example:
    >>> scores = {"trained": 0.9, "untrained": 0.5, "pca": 0.8, "pixels": 0.85}
    >>> entry = {"accuracies": scores, "interval": [0.87, 0.92], "k": 5}
    >>> print(evaluation_table({"knn": entry}))
    test accuracy, %    trained      95 % interval  untrained    pca  pixels
    knn                    90.0     87.0 to 92.0         50.0   80.0    85.0  neighbors 5
    """
    width = max(18, *map(len, entries)) if entries else 18
    lines = [
        f"{'test accuracy, %':<{width}}{'trained':>9}{'95 % interval':>19}"
        f"{'untrained':>11}{'pca':>7}{'pixels':>8}"
    ]
    lines += [_line(name, entry, width) for name, entry in entries.items() if "accuracies" in entry]
    lines = lines if len(lines) > 1 else []
    for name, entry in entries.items():
        lines += _below(name, entry)
    return "\n".join(lines)


def _line(name: str, entry: Mapping[str, Any], width: int) -> str:
    accuracies = entry["accuracies"]
    cells = [_percent(accuracies.get(rival)) for rival in RIVALS]
    interval = entry.get("interval")
    between = "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    detail = next((f"{text} {entry[key]}" for key, text in _DETAILS if key in entry), "")
    line = f"{name:<{width}}{cells[0]:>9}{between:>17}  {cells[1]:>11}{cells[2]:>7}{cells[3]:>8}"
    return f"{line}  {detail}".rstrip()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _below(name: str, entry: Mapping[str, Any]) -> list[str]:
    if "error" in entry:
        return [f"{name} failed: {entry['error']}"]
    lines = []
    if "classes" in entry:
        classes = entry["classes"]
        lines.append(
            f"{name}: balanced accuracy {100 * classes['balanced_accuracy']:.1f}, macro-F1 "
            f"{100 * classes['macro_f1']:.1f}, worst class {classes['worst_class']} "
            f"({100 * classes['worst_recall']:.1f})"
        )
    for method, scores in entry.get("methods", {}).items():
        lines.append(
            f"{name}, {method}: PSNR {scores['psnr_missing']:.1f} dB in the hole, "
            f"SSIM {scores['ssim']:.3f}"
        )
    return lines + [f"{name}: {note}" for note in entry.get("notes", [])]
