"""A page about a fine-tuned classifier, made of what was measured and of nothing else."""

from typing import Any

from mae_keras.files import replacing
from mae_keras.recipes.cards import markdown_text
from mae_keras.recipes.classifier_scores import unscored_classes
from mae_keras.training import RunFolder

_PICTURES = {
    "evaluation/confusion.png": "Confusion matrix",
    "evaluation/calibration.png": "Calibration: how often predictions of a confidence are right",
    "loss.png": "Losses of training and validation images",
}
_SETTINGS = (
    "epochs",
    "batch_size",
    "base_learning_rate",
    "layer_decay",
    "weight_decay",
    "train_blocks",
    "drop_path_rate",
    "label_smoothing",
    "ema_momentum",
    "balance",
    "pooling",
    "from_scratch",
    "seed",
)


def write_classifier_card(run: RunFolder) -> None:
    """Write `model_card.md` beside a classifier, out of the run's own files.

    Args:
        run: `RunFolder` of a fine-tuned classifier.
    """
    with replacing(run.model_card) as aside:
        aside.write_text(classifier_card(run), encoding="utf-8", errors="backslashreplace")


def classifier_card(run: RunFolder) -> str:
    """The text of a classifier's `model_card.md`.

    Args:
        run: `RunFolder` with `config.json`.

    Returns:
        Markdown.

    Example:
    >>> import tempfile
    >>> run = RunFolder(tempfile.mkdtemp())
    >>> run.write_json(run.config, {"dataset": "labelled/", "class_names": ["cat", "dog"]})
    >>> classifier_card(run).splitlines()[0]
    '# Image classifier, 2 classes, fine-tuned on labelled/'
    """
    config = run.read_json(run.config)
    metrics = run.read_json(run.metrics) if run.metrics.exists() else {}
    entries = run.read_evaluation()
    dataset = markdown_text(config.get("dataset"))
    parts = [
        f"# Image classifier, {_count(config)}, fine-tuned on {dataset}",
        "Written by `mae-keras` from the files beside it. Only the results below were measured: "
        "not other data, other classes, or groups of people or things within the data.",
        *(_scores(name, entry) for name, entry in entries.items() if "classes" in entry),
        "" if entries else "## Scores\n\nNot scored: there were no images to score on.",
        *(f"![{title}]({name})" for name, title in _PICTURES.items() if (run.path / name).exists()),
        _training(config, metrics),
        _use(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count(config: dict[str, Any]) -> str:
    names = config.get("class_names")
    return f"{len(names)} classes" if names else "classes without names"


def _scores(name: str, entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    classes = entry["classes"]
    on = f"{entry['num_test']:,} {entry['split']} images of {markdown_text(entry['dataset'])}"
    lines = [
        f"## Scores on {on}",
        "",
        "| | |",
        "|---|---|",
        f"| accuracy | {_percent(entry['test_accuracy'])} % (95 % interval {_percent(low)} to "
        f"{_percent(high)}) |",
        f"| always the most frequent class | {_percent(entry['most_frequent_class'])} % |",
        f"| balanced accuracy (mean recall of the classes) | "
        f"{_percent(classes['balanced_accuracy'])} % |",
        f"| macro-F1 | {_percent(classes['macro_f1'])} % |",
        f"| expected calibration error | {_percent(classes['calibration']['error'])} % |",
        "",
        "| class | precision | recall | F1 | images |",
        "|---|---|---|---|---|",
    ]
    for one in classes["classes"]:
        values = [
            "-" if one[key] is None else f"{one[key]:.3f}" for key in ("precision", "recall", "f1")
        ]
        lines.append(
            f"| {markdown_text(one['name'])} | {' | '.join(values)} | {one['support']:,} |"
        )
    if name == "classifier":
        absent = [markdown_text(one["name"]) for one in classes["classes"] if not one["support"]]
        if absent:
            lines += ["", f"**{unscored_classes(absent, entry['split'])}**"]
    if entry["split"] == "validation":
        lines += ["", "There were no test images. Nothing was chosen on these, unless by hand."]
    return "\n".join(lines)


def _training(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    settings = config.get("fine_tune", {})
    sizes = config.get("data", {})
    rows = [
        ("pretrained weights", config.get("fine_tuned_from")),
        ("pretrained on, without labels", config.get("pretrained_on")),
        ("preset", config.get("preset")),
        ("sample shape", " x ".join(map(str, sizes.get("image_shape", ()))) or None),
    ]
    rows += [(f"{name} images", sizes.get(name)) for name in ("train", "validation", "test")]
    rows += [(name.replace("_", " "), settings.get(name)) for name in _SETTINGS]
    changes = dict(settings.get("augmentation", {}))
    if not changes.get("crop_scale"):
        changes.pop("crop_ratio", None)
    if not changes.get("num_ops"):
        changes.pop("magnitude", None)
    used = [f"{name.replace('_', ' ')}{_amount(value)}" for name, value in changes.items() if value]
    if changes:
        rows.append(("augmentation", ", ".join(used) or "none"))
    for name in ("steps", "num_trained_weights", "train_seconds", "device"):
        rows.append((name.replace("_", " "), metrics.get(name)))
    rows += sorted(metrics.get("versions", {}).items())
    lines = ["## Training", "", "| setting | value |", "|---|---|"]
    lines += [f"| {name} | {markdown_text(value)} |" for name, value in rows if value is not None]
    return "\n".join(lines)


def _amount(value: Any) -> str:
    if value is True:
        return ""
    return f" {' to '.join(f'{v:g}' for v in value)}" if isinstance(value, list) else f" {value:g}"


def _use(config: dict[str, Any]) -> str:
    return (
        "## Use\n\n```sh\nmae-keras predict . new/ --csv predictions.csv\n```\n\n"
        "```python\nfrom mae_keras.models import load_model\n\n"
        'model = load_model("model.keras")\n'
        "probabilities = model.probabilities(images)  # pixels as stored, not divided by 255\n"
        "model.class_names  # in the order of the columns\n```\n\n"
        "`saved_model/` gives the same with TensorFlow alone: `serving_default` takes `images` and "
        "gives `probabilities`, `logits` and `class_names`."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
