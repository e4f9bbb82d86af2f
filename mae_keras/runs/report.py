"""Words, tables and pages about a run, made of what was measured and of nothing else."""

import functools
import html
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mae_keras.data.splits import kind_of
from mae_keras.files import replacing
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.predicting import unscored_classes
from mae_keras.runs.protocols import PROTOCOLS, protocol_of

# A model of this package that has taken fewer steps has hardly begun to learn, whatever the data.
_FEW_STEPS = 1000

BASELINES = {
    "mean_image": "the data set's mean patch at each place",
    "visible_mean": "the mean of the image's visible pixels",
    "nearest_visible": "the nearest visible patches",
    "nearest_frame": "the same place in the nearest frame that shows it",
    "linear_in_time": "the same place, interpolated between frames that show it",
}
_SHORT_NAMES = {
    "mean_image": "the mean image",
    "visible_mean": "the visible mean",
    "nearest_visible": "the nearest visible patches",
    "nearest_frame": "the nearest frame",
    "linear_in_time": "interpolation in time",
    "untrained": "untrained features",
    "pixels": "raw pixels",
    "pca": "PCA",
}


_VALUES = {"pixel": "value", "pixels": "values"}
_WORDS = {
    "signals": {"image": "signal", "images": "signals", **_VALUES},
    "sound": {"image": "recording", "images": "recordings", **_VALUES},
    "volumes": {"image": "crop", "images": "crops", "pixel": "voxel", "pixels": "voxels"},
    "video": {"image": "clip", "images": "clips"},
}
_ARTICLE = re.compile(r"\b([Aa])n (clip|crop|recording|signal)\b")
# Not in paths, names and code.
_WORD = re.compile(r"(?<![\w/.`(-])(images?|pixels?)\b(?![\w/`(]|\.\w)")


def worded(text: str, image_shape: Sequence[int] | None, kind: str | None = None) -> str:
    """Say signals, recordings, volumes or clips, and values, in a sentence on images and pixels.

    Args:
        text: for people.
        image_shape: of the samples, as far as it is known: signals have two axes.
        kind: what the samples are, such as `"sound"`, where more than their shape is known.

    Returns:
        str.

    Example:
    >>> worded("32 training images of images/x.ts", (150, 1))
    '32 training signals of images/x.ts'
    """
    if kind is None and image_shape is not None and len(image_shape) == 2:
        kind = "signals"
    words = _WORDS.get(str(kind), {})
    said = _WORD.sub(lambda match: words.get(match[0], match[0]), text)
    return said if not words else _ARTICLE.sub(r"\1 \2", said)


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
    The run beats every baseline in reconstruction (loss 1 against 2 for the mean image).
    """
    lines = []
    if "privacy" in metrics:
        lines.append(privacy_sentence(metrics["privacy"]))
    scored = "hidden_loss" in metrics  # of a private run there may be no scores
    if scored:
        lines.append(f"Hidden-patch loss on held-out images: {metrics['hidden_loss']:.4g}")
    for name, value in metrics.get("baseline_loss", {}).items():
        lines.append(f"  {name:<18} {value:>7.4g}      ({BASELINES[name]})")
    for key, title in (("knn_accuracy", "20-NN"), ("linear_probe_accuracy", "Linear probe")):
        if metrics.get(key):
            scores = ", ".join(f"{name} {value:.1%}" for name, value in metrics[key].items())
            lines.append(f"{title} accuracy: {scores}")
    if metrics.get("images_per_second"):
        lines.append(
            f"{metrics['images_per_second']:,.0f} images/s, {metrics['compile_seconds']} s to "
            f"compile, {metrics['wall_seconds']} s in all"
        )
    last = verdict(metrics) if scored else few_steps(metrics.get("steps"))
    return "\n".join(filter(None, [*lines, last]))


def privacy_sentence(privacy: Mapping[str, Any]) -> str:
    """What was spent, of `metrics.json`.

    Args:
        privacy: what it holds under `"privacy"`.

    Returns:
        str.

    Example:
    >>> spent = {"epsilon": 7.99, "delta": 1e-5, "noise_multiplier": 0.8, "steps": 320}
    >>> print(privacy_sentence({**spent, "target_epsilon": 8.0}))
    Privacy: epsilon 7.99 of 8 spent in 320 steps, delta 1e-05, noise 0.8
    """
    return (
        f"Privacy: epsilon {privacy['epsilon']:.4g} of {privacy['target_epsilon']:g} spent in "
        f"{privacy['steps']:,} steps, delta {privacy['delta']:g}, noise "
        f"{privacy['noise_multiplier']:.4g}"
    )


def verdict(metrics: dict[str, Any]) -> str:
    """One sentence: does the run beat what needs no training?

    Args:
        metrics: what `metrics.json` holds.

    Returns:
        str.

    Example:
    >>> scores = {"trained": 0.9, "untrained": 0.5, "pixels": 0.95}
    >>> loss = {"hidden_loss": 1.0, "baseline_loss": {"mean_image": 2.0}}
    >>> print(verdict({**loss, "knn_accuracy": scores}))
    The run beats every baseline in reconstruction (loss 1 against 2 for the mean image), but not
    in 20-NN (90.0 % against 95.0 % for raw pixels).
    """
    beaten, unbeaten = [], []
    for is_better, words in _contests(metrics):
        (beaten if is_better else unbeaten).append(words)
    if not unbeaten:
        sentence = f"The run beats every baseline in {_joined(beaten)}."
    elif not beaten:
        sentence = f"The run does not beat the best baseline in {_joined(unbeaten)}."
    else:
        sentence = (
            f"The run beats every baseline in {_joined(beaten)}, but not in {_joined(unbeaten)}."
        )
    return " ".join(filter(None, [sentence, few_steps(metrics.get("steps"))]))


def _contests(metrics: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    """Whether the run is better than the best baseline, and in what, with both numbers."""
    loss, best = metrics["hidden_loss"], best_baseline(metrics["baseline_loss"])
    least = metrics["baseline_loss"][best]
    numbers = f"loss {loss:.3g} against {least:.3g} for {_SHORT_NAMES[best]}"
    yield loss < least, f"reconstruction ({numbers})"
    for key, title in (("linear_probe_accuracy", "the linear probe"), ("knn_accuracy", "20-NN")):
        scores = metrics.get(key)
        if not scores:
            continue
        trained = scores["trained"]
        best = max((name for name in scores if name != "trained"), key=lambda name: scores[name])
        numbers = f"{trained:.1%} against {scores[best]:.1%} for {_SHORT_NAMES[best]}"
        yield trained > scores[best], f"{title} ({numbers.replace('%', ' %')})"


def best_baseline(losses: Mapping[str, float]) -> str:
    """Name of the naive baseline with the smallest loss.

    Args:
        losses: name to loss.

    Returns:
        str.

    Example:
    >>> best_baseline({"mean_image": 0.5, "visible_mean": 1.1})
    'mean_image'
    """
    return min(losses, key=lambda name: losses[name])


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


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


_COMPARED = ("trained", "untrained", "pca", "pixels")


def evaluation_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each protocol, a column for each encoder and baseline.

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
    cells = [_percent(accuracies.get(name)) for name in _COMPARED]
    interval = entry.get("interval")
    between = "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
    protocol = protocol_of(name)
    key, label, _ = (protocol and protocol.detail) or ("", "", "")
    detail = f"{label} {entry[key]}" if key in entry else ""
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
    protocol = protocol_of(name)
    if protocol is not None and protocol.lines is not None:
        lines += [f"{name}, {line}" for line in protocol.lines(entry)]
    return lines + [f"{name}: {note}" for note in entry.get("notes", [])]


_SETTINGS = (
    "preset",
    "image_size",
    "patch_size",
    "mask_ratio",
    "masking",
    "target",
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


def _columns() -> str:
    """What the columns of the evaluation table are."""
    details = dict(protocol.detail[1:] for protocol in PROTOCOLS.values() if protocol.detail)
    ending = "; ".join(f"{label}, {meaning}" for label, meaning in details.items())
    return (
        "Columns: `trained` is this encoder, `untrained` the same network before training, `pca` "
        "principal components of the pixels, `pixels` the pixels themselves. The interval is that "
        f"of `trained`. The last column is what a protocol chose on validation images, or for how "
        f"long it trained: {ending}."
    )


def _pictures() -> dict[str, str]:
    """File to caption of all pictures that a run may have, in the order of the card."""
    return {
        "reconstructions.png": "Reconstructions of held-out images",
        "loss.png": "Losses",
        "evaluation/features.png": "Features of test images",
        **{
            f"evaluation/{name}.png": caption
            for protocol in PROTOCOLS.values()
            for name, caption in protocol.pictures.items()
        },
        "evaluation/attention.png": "Attention",
    }


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
    about = config.get("data") or {}
    say = functools.partial(
        worded, image_shape=about.get("image_shape"), kind=kind_of(about.get("preprocessing"))
    )
    parts = [
        _title(config),
        "Written by `mae-keras` from the files beside it. Only the results below were measured: "
        "not other data, other tasks, or groups of people or things within the data.",
        _settings(config, metrics),
        _privacy(metrics.get("privacy")),
        say(_reconstruction(metrics)),
        _evaluation(run.read_evaluation(), say),
        *(
            f"![{say(title)}]({name})"
            for name, title in _pictures().items()
            if (run.path / name).exists()
        ),
        say(_use(config)),
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


def _privacy(privacy: Any) -> str:
    if not isinstance(privacy, Mapping):
        return ""
    rows = [(name.replace("_", " "), value) for name, value in privacy.items()]
    return "\n".join(
        [
            "## Privacy",
            "",
            "Trained by DP-SGD. The weights and all checkpoints are (epsilon, delta)-"
            "differentially private for one training image added or removed; the number of images "
            "is public. Losses, scores and pictures of the images, if there are any, are not "
            "covered. A person with several images is protected less.",
            "",
            "| privacy | value |",
            "|---|---|",
            *(f"| {markdown_text(name)} | {markdown_text(value)} |" for name, value in rows),
        ]
    )


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


def _evaluation(entries: dict[str, Any], say: Callable[[str], str] = str) -> str:
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
    above = (
        f"## Evaluation\n\nFitted on training images, chosen on validation images, reported on "
        f"test images.{apart}"
    )
    table = _code(evaluation_table(measured))
    return "\n\n".join([say(above), table, say(_columns())])


def _use(config: dict[str, Any]) -> str:
    return (
        "## Use\n\n```python\nfrom mae_keras.models import load_model\n\n"
        'model = load_model("model.keras")\n'
        "features = model.encode(images)  # pixels as stored, not divided by 255\n```"
    )


_CLASSIFIER_PICTURES = {
    "evaluation/confusion.png": "Confusion matrix",
    "evaluation/calibration.png": "Calibration: how often predictions of a confidence are right",
    "loss.png": "Losses of training and validation images",
}
_CLASSIFIER_SETTINGS = (
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
    >>> run.write_json(run.config, {"dataset": "labeled/", "class_names": ["cat", "dog"]})
    >>> classifier_card(run).splitlines()[0]
    '# Image classifier, 2 classes, fine-tuned on labeled/'
    """
    config = run.read_json(run.config)
    metrics = run.read_json(run.metrics) if run.metrics.exists() else {}
    entries = run.read_evaluation()
    dataset = markdown_text(config.get("dataset"))
    about = config.get("data") or {}
    say = functools.partial(
        worded, image_shape=about.get("image_shape"), kind=kind_of(about.get("preprocessing"))
    )
    samples = say("images")
    title = "Image classifier" if samples == "images" else f"Classifier of {samples}"
    parts = [
        f"# {title}, {_count(config)}, fine-tuned on {dataset}",
        "Written by `mae-keras` from the files beside it. Only the results below were measured: "
        "not other data, other classes, or groups of people or things within the data.",
        *(_scores(name, entry, samples) for name, entry in entries.items() if "classes" in entry),
        "" if entries else f"## Scores\n\nNot scored: there were no {samples} to score on.",
        *(
            f"![{title}]({name})"
            for name, title in _CLASSIFIER_PICTURES.items()
            if (run.path / name).exists()
        ),
        _training(config, metrics, samples),
        say(_classifier_use(config)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count(config: dict[str, Any]) -> str:
    names = config.get("class_names")
    return f"{len(names)} classes" if names else "classes without names"


def _scores(name: str, entry: dict[str, Any], samples: str) -> str:
    low, high = entry["interval"]
    classes = entry["classes"]
    on = f"{entry['num_test']:,} {entry['split']} {samples} of {markdown_text(entry['dataset'])}"
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
        f"| class | precision | recall | F1 | {samples} |",
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
        lines += ["", f"There were no test {samples}. Nothing was chosen on these, unless by hand."]
    return "\n".join(lines)


def _training(config: dict[str, Any], metrics: dict[str, Any], samples: str) -> str:
    settings = dict(config.get("fine_tune", {}))
    if "epochs" in metrics:  # fewer where a callback ended training early
        settings["epochs"] = metrics["epochs"]
    sizes = config.get("data", {})
    rows = [
        ("pretrained weights", config.get("fine_tuned_from")),
        ("pretrained on, without labels", config.get("pretrained_on")),
        ("preset", config.get("preset")),
        ("sample shape", " x ".join(map(str, sizes.get("image_shape", ()))) or None),
    ]
    rows += [(f"{name} {samples}", sizes.get(name)) for name in ("train", "validation", "test")]
    rows += [(name.replace("_", " "), settings.get(name)) for name in _CLASSIFIER_SETTINGS]
    changes = dict(settings.get("augmentation", {}))
    changes |= changes.pop("samples", None) or {}
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


def _classifier_use(config: dict[str, Any]) -> str:
    return (
        "## Use\n\n```sh\nmae-keras predict . new/ --csv predictions.csv\n```\n\n"
        "```python\nfrom mae_keras.models import load_model\n\n"
        'model = load_model("model.keras")\n'
        "probabilities = model.probabilities(images)  # pixels as stored, not divided by 255\n"
        "model.class_names  # in the order of the columns\n```\n\n"
        "`saved_model/` gives the same with TensorFlow alone: `serving_default` takes `images` and "
        "gives `probabilities`, `logits` and `class_names`."
    )
