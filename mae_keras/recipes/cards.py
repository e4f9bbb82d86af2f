"""A page about a run, made of what was measured and of nothing else."""

import html
import math
import re
from typing import Any

from mae_keras.files import replacing
from mae_keras.recipes.evaluation_report import evaluation_table
from mae_keras.training import RunFolder

_SETTINGS = (
    "preset",
    "image_size",
    "patch_size",
    "mask_ratio",
    "masking",
    "normalize_targets",
    "uniformity_weight",
    "decoder_attention",
    "decode_ratio",
    "augment",
    "min_crop_scale",
    "balance",
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "dtype_policy",
    "seed",
    "backend",
)
_PICTURES = {
    "reconstructions.png": "Reconstructions of held-out images",
    "loss.png": "Losses",
    "evaluation/features.png": "Features of test images",
    "evaluation/layers.png": "Linear probe after each block",
    "evaluation/label_fractions.png": "Linear probe with fewer labels",
    "evaluation/confusion.png": "Confusion matrix",
    "evaluation/calibration.png": "Calibration",
    "evaluation/robustness.png": "Linear probe on corrupted images",
    "evaluation/attention.png": "Attention",
}


_COLUMNS = (
    "Columns: `trained` is this encoder, `untrained` the same network before training, `pca` "
    "principal components of the pixels, `pixels` the pixels themselves. The interval is that of "
    "`trained`. The last column says what was chosen on validation images: neighbors that vote, "
    "or the block whose features are used; or how many epochs a network was trained."
)


def write_model_card(run: RunFolder) -> None:
    """Write `model_card.md` beside a run's weights, out of the run's own files.

    Args:
        run: `RunFolder` with `config.json`; what else it holds is told, what it lacks is not.
    """
    with replacing(run.model_card) as aside:
        # File names that are no text are written as escapes.
        aside.write_text(model_card(run), encoding="utf-8", errors="backslashreplace")


def model_card(run: RunFolder) -> str:
    """The text of `model_card.md`.

    Args:
        run: `RunFolder` with `config.json`.

    Returns:
        Markdown.

    Raises:
        ValueError: if there is no run in the folder.

    Example:
    >>> import tempfile
    >>> run = RunFolder(tempfile.mkdtemp())
    >>> run.write_json(run.config, {"preset": "nano", "dataset": "digits"})
    >>> model_card(run).splitlines()[0]
    '# Masked autoencoder, nano, pretrained on digits'
    """
    config = run.read_json(run.config)
    metrics = run.read_json(run.metrics) if run.metrics.exists() else {}
    parts = [
        _title(config),
        "Written by `mae-keras` from the files beside it. Only the results below were measured: "
        "not other data, other tasks, or groups of people or things within the data.",
        _settings(config, metrics),
        _reconstruction(metrics),
        _evaluation(run.read_evaluation()),
        *(f"![{title}]({name})" for name, title in _PICTURES.items() if (run.path / name).exists()),
        _use(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(config: dict[str, Any]) -> str:
    size = markdown_text(config.get("preset", "of its own size"))
    if "imported_from" in config:  # what it was trained on is not known
        source = markdown_text(config["imported_from"])
        return f"# Masked autoencoder, {size}, weights imported from {source}"
    return f"# Masked autoencoder, {size}, pretrained on {markdown_text(config['dataset'])}"


def _settings(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    imported = "imported_from" in config
    rows: list[tuple[str, Any]] = [
        (name, config[name]) for name in _SETTINGS if config.get(name) is not None
    ]
    if imported and "dataset" in config:
        rows.append(("evaluated_on", config["dataset"]))
    for name in ("wall_seconds", "images_per_second", "device", "num_cores", "xla", "branches"):
        if metrics.get(name) is not None:
            rows.append((name, metrics[name]))
    rows = _data_rows(config.get("data")) + rows
    rows += sorted(metrics.get("versions", {}).items())
    heading = "## Settings" if imported else "## Training"
    lines = [heading, "", "| setting | value |", "|---|---|"]
    cells = [(name.replace("_", " "), value) for name, value in rows]
    return "\n".join(
        lines + [f"| {markdown_text(name)} | {markdown_text(value)} |" for name, value in cells]
    )


def _data_rows(counts: Any) -> list[tuple[str, Any]]:
    """What was trained on: the shape of a sample, and how many each split holds."""
    if not isinstance(counts, dict):
        return []
    rows: list[tuple[str, Any]] = []
    if isinstance(counts.get("image_shape"), list):
        rows.append(("sample shape", " × ".join(map(str, counts["image_shape"]))))
    rows += [
        (f"{name} samples", f"{counts[name]:,}")
        for name in ("train", "validation", "test")
        if isinstance(counts.get(name), int)
    ]
    return rows


def markdown_text(value: Any) -> str:
    """A value on one line that Markdown shows as it is: no HTML, links, code or cells of tables."""
    line = " ".join(html.escape(str(value), quote=False).split())
    return re.sub(r"([\\`*|\[\]$])", r"\\\1", line)


def _code(text: str) -> str:
    """A block in a fence that is longer than any in the text."""
    runs = re.findall("`+", text)
    fence = "`" * max(3, *(len(run) + 1 for run in runs)) if runs else "```"
    return f"{fence}\n{text}\n{fence}"


def _reconstruction(metrics: dict[str, Any]) -> str:
    if not math.isfinite(metrics.get("hidden_loss", math.nan)):
        return ""
    baselines = "".join(
        f", {markdown_text(name.replace('_', ' '))} {value:.4g}"
        for name, value in metrics.get("baseline_loss", {}).items()
    )
    return (
        f"## Reconstruction\n\nHidden-patch loss on held-out images: {metrics['hidden_loss']:.4g} "
        f"(predictors that need no training{baselines})."
    )


def _evaluation(entries: dict[str, Any]) -> str:
    measured = {name: entry for name, entry in entries.items() if "error" not in entry}
    if not measured:
        return ""
    counts = [entry["shared_images"] for entry in measured.values() if "shared_images" in entry]
    apart = " No image used is in two of the three." if counts and not max(counts) else ""
    changed = [name for name, entry in measured.items() if entry.get("data_changed")]
    if changed:
        apart = (
            f"\n\n**The data changed between training and evaluation: test images of "
            f"{markdown_text(', '.join(changed))} may have been trained on, and these numbers "
            f"may be too good.**"
        )
    return (
        f"## Evaluation\n\nFitted on training images, chosen on validation images, reported on "
        f"test images.{apart}\n\n{_code(evaluation_table(measured))}\n\n{_COLUMNS}"
    )


def _use(config: dict[str, Any]) -> str:
    return (
        "## Use\n\n```python\nfrom mae_keras.models import load_model\n\n"
        'model = load_model("model.keras")\n'
        "features = model.encode(images)  # pixels as stored, not divided by 255\n```"
    )
