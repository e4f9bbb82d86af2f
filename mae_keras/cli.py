"""The command line: parses, calls recipes, prints. Imports nothing heavy before parsing."""

import contextlib
import dataclasses
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from mae_keras import __version__
from mae_keras.console import (
    discard_unwritten,
    exit_code_of,
    interrupting_signals,
    quiet_tensorflow,
    unfailing_output,
)
from mae_keras.models.presets import PRESETS, find_preset
from mae_keras.recipes.base import Recipe
from mae_keras.recipes.catalogue import RECIPES, adapt, find_recipe
from mae_keras.recipes.protocols import EvaluationOptions, check_protocol

WIDEST_IN_BRANCHES = 192

app = cyclopts.App(
    name="mae-keras",
    help="Masked autoencoders for Keras 3: train one, see what it learned, export it.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # `main` says how to go on
)


def _overrides(name: str, settings: type) -> type:
    """Every field of a dataclass as an option without a default: its own value stands."""
    words = dict(re.findall(r"^    (\w+): ((?:.|\n {8})+)", inspect.getdoc(settings) or "", re.M))
    options = []
    for field in dataclasses.fields(settings):
        text = " ".join(words[field.name].split())
        # a blank negative: `--no-augment` stays, `--no-strict` and the like are of no use
        kind = Annotated[field.type | None, Parameter(help=text[0].upper() + text[1:])]
        options.append((field.name, kind, dataclasses.field(default=None)))
    # Cyclopts looks the module of a class up to resolve its annotations.
    namespace = {"__module__": __name__}
    return dataclasses.make_dataclass(name, options, frozen=True, namespace=namespace)


Overrides = _overrides("Overrides", Recipe)
EvaluationOverrides = _overrides("EvaluationOverrides", EvaluationOptions)


@app.command
def pretrain(
    *,
    out: Path,
    recipe: Literal[tuple(RECIPES)] | None = None,  # type: ignore[valid-type]
    resume: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    init_from: Path | None = None,
    checkpoint_minutes: float = 5.0,
    keep_checkpoints: int = 2,
    distribute: Literal["none", "devices", "processes"] = "none",
    data_dir: Path | None = None,
    overrides: Annotated[Overrides, Parameter(name="*")] = Overrides(),  # type: ignore  # noqa: B008
) -> None:
    """Train a masked autoencoder and write model, numbers and pictures into a folder.

    Parameters
    ----------
    out
        Folder of the run.
    recipe
        Where values not given here come from; by default the one that suits the data set.
    resume
        Go on with the run in the folder, its settings unchanged, from its newest checkpoint.
    overwrite
        Replace the run in the folder.
    init_from
        Start a new run from the weights of another: its folder or a .keras file.
    checkpoint_minutes
        Longest time between checkpoints within an epoch.
    keep_checkpoints
        How many of the latest checkpoints to keep; the one of the best val_loss, of those saved at
        the end of an epoch, is kept besides.
    distribute
        Share every batch among all devices of this machine, or among several processes (JAX; see
        docs/distribute.md).
    data_dir
        Folder of TensorFlow Datasets; by default the environment variable TFDS_DATA_DIR.
    """
    given = dataclasses.asdict(overrides)
    chosen = adapt(find_recipe(recipe, given["dataset"]), **given)
    find_preset(chosen.preset)  # refused before anything heavy is imported
    from mae_keras.recipes import Saving, pretrain, summary
    from mae_keras.training import RunFolder

    if chosen.jit_compile != "true" and distribute == "none":
        _use_branches(chosen.preset)
    metrics = pretrain(
        chosen,
        out,
        resume=resume,
        overwrite=overwrite,
        data_dir=None if data_dir is None else str(data_dir),
        init_from=init_from,
        saving=Saving(minutes=checkpoint_minutes, keep=keep_checkpoints),
        distribution=distribute,
    )
    if not metrics:  # another process wrote them
        return
    print(f"\nWrote {out}/: {', '.join(RunFolder(out).contents())}")
    print(summary(metrics))


@app.command
def evaluate(
    run: Path,
    *,
    protocol: Annotated[list[str] | None, Parameter(negative="")] = None,
    data_dir: Path | None = None,
    options: Annotated[EvaluationOverrides, Parameter(name="*")] = EvaluationOverrides(),  # type: ignore  # noqa: B008
) -> None:
    """Score what a run learned and write evaluation.json, pictures and a model card beside it.

    Parameters
    ----------
    run
        Folder of the run.
    protocol
        One of knn, linear-probe, paper-probe, layers, label-fractions, robustness, restoration;
        and, training a network each, fine-tune, partial-fine-tune, from-scratch. May be given more
        than once; by default those that train none.
    data_dir
        Folder of TensorFlow Datasets; by default the environment variable TFDS_DATA_DIR.
    """
    for name in protocol or ():
        check_protocol(name)  # refused before anything heavy is imported
    given = {key: value for key, value in dataclasses.asdict(options).items() if value is not None}
    chosen = EvaluationOptions(**given)
    from mae_keras.recipes import evaluate_run, evaluation_table

    _use_branches(_preset_of(run))
    where = None if data_dir is None else str(data_dir)
    made = evaluate_run(run, protocol, where, chosen, announce=lambda line: print(line, flush=True))
    print(f"\n{evaluation_table(made)}")
    print(f"Wrote evaluation.json, evaluation/ and model_card.md in {run}")
    failed = [name for name, entry in made.items() if "error" in entry]
    if failed:
        raise ValueError(f"{', '.join(failed)} failed; the other results were written")


def _preset_of(run: Path) -> str | None:
    from mae_keras.training import RunFolder

    folder = RunFolder(run)
    config = folder.read_json(folder.config) if folder.config.exists() else None
    return config.get("preset") if isinstance(config, dict) else None


def _use_branches(preset: str | None) -> None:
    """For models of a width that was measured to gain, in `docs/performance.md`."""
    if preset not in PRESETS or PRESETS[preset].hidden_dim > WIDEST_IN_BRANCHES:
        return
    from mae_keras.training import use_branches

    with contextlib.suppress(RuntimeError):  # called from a program that has used TensorFlow
        use_branches()


@app.command
def reconstruct(run: Path, *images: Path, out: Path, mask_ratio: float | None = None) -> None:
    """Draw originals, masked images and reconstructions of image files.

    Parameters
    ----------
    run
        Folder of the run.
    images
        PNG, JPEG, BMP or GIF files; resized to the model's image size.
    out
        Picture to write, such as picture.png.
    mask_ratio
        Fraction of patches to hide; by default as in training.
    """
    from mae_keras.recipes.trained import reconstruct_files

    reconstruct_files(run, images, out, mask_ratio)
    print(f"Wrote {out}")


@app.command
def export(
    run: Path,
    *,
    out: Path,
    format: Literal["saved-model", "onnx", "litert"] = "saved-model",
    signature: Annotated[list[str] | None, Parameter(negative="")] = None,
    quantize: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a run's model for serving, and keep it only if it does what the model does.

    Parameters
    ----------
    run
        Folder of the run.
    out
        What to write: a folder; for onnx a file ending in .onnx, for litert in .tflite.
    format
        saved-model needs nothing more, onnx and litert the extras of their names.
    signature
        One of encode, reconstruct, inpaint, classify. May be given more than once, except for onnx,
        whose files hold one: encode by default. By default all that the model has.
    quantize
        Keep matrices as int8 (litert): a third of the size, a little less exact.
    """
    from mae_keras.recipes.trained import export_run, verified_line

    differences = export_run(run, out, format, signature, quantize)
    print(f"Wrote {out}")
    print(verified_line(differences))


@app.command(name="import")
def import_(
    checkpoint: Path,
    *,
    out: Path,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    dataset: str | None = None,
    kind: Literal["autoencoder", "classifier"] | None = None,
    num_heads: int | None = None,
    decoder_num_heads: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    normalize_targets: bool | None = None,
    prefix: str | None = None,
) -> None:
    """Make a run out of published PyTorch weights: facebookresearch/mae, Hugging Face, timm.

    Parameters
    ----------
    checkpoint
        A .pth, .bin or .safetensors file, or a folder that Hugging Face's transformers saved.
    out
        Folder of the run.
    overwrite
        Replace the run in the folder.
    dataset
        What to evaluate on later, as in pretrain.
    kind
        What the weights are of; by default what their names say.
    num_heads
        Attention heads, where neither the file nor the model's width says.
    decoder_num_heads
        The same for the decoder.
    image_shape
        Height, width and channels to build the model for; by default those it was trained with.
    normalize_targets
        Whether training standardised the target patches, where the file does not say.
    prefix
        What every name begins with, where that is not a usual one.
    """
    from mae_keras.recipes import import_checkpoint

    options = {
        "kind": kind,
        "num_heads": num_heads,
        "decoder_num_heads": decoder_num_heads,
        "image_shape": image_shape,
        "normalize_targets": normalize_targets,
        "prefix": prefix,
    }
    given = {name: value for name, value in options.items() if value is not None}
    print(import_checkpoint(checkpoint, out, overwrite=overwrite, dataset=dataset, **given))
    print(f"Wrote {out}")


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
def datasets() -> None:
    """List the data sets that --dataset takes."""
    from mae_keras.data import DATASETS

    for name, text in DATASETS.items():
        print(f"{name:<16}{text}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: list of str; defaults to the process's own.
    """
    quiet_tensorflow()
    given = sys.argv[1:] if arguments is None else arguments
    stop = None
    try:
        with unfailing_output() as failures, interrupting_signals():
            _run(lambda: app(given), _resuming(given))
    except SystemExit as error:
        stop = error
    discard_unwritten()
    code = exit_code_of(failures)
    if code and not (stop and stop.code):
        _leave(code, f"done, but output was lost: {failures[0].strerror}")
    if stop is not None:
        raise stop


def _resuming(arguments: list[str]) -> str:
    """How to go on with a command that was interrupted after it had saved."""
    if arguments[:1] != ["pretrain"]:
        return ""
    flags = ("--overwrite", "--resume")
    kept = [word for word in arguments if word.split("=")[0] not in flags]
    backend = os.environ.get("KERAS_BACKEND")
    before = f"KERAS_BACKEND={backend} " if backend else ""
    return f"; go on with: {before}mae-keras {shlex.join([*kept, '--resume'])}"


def _run(action: Callable[[], Any], resuming: str = "") -> None:
    """Turn what a user can mend into one line on standard error and exit code 2."""
    try:
        action()
    except (ValueError, TypeError, ImportError, OSError, ArithmeticError, MemoryError) as error:
        if os.environ.get("MAE_KERAS_TRACEBACK"):
            raise
        _leave(2, _explained(error))
    except KeyboardInterrupt as error:
        if type(error).__name__ != "Interrupted":  # whether there is a run yet is not known
            resuming = "; if training had begun, --resume goes on" if resuming else ""
            error = KeyboardInterrupt(f"stopped by {error}" if str(error) else "interrupted")
        _leave(130, f"{error}{resuming}")
    except RuntimeError as error:
        kind = type(error).__name__
        if kind not in ("LostProcessError", "VerificationError"):
            raise
        # 75 is what a scheduler may restart on
        _leave(75 if kind == "LostProcessError" else 2, " ".join(str(error).split()))


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
    return str(error)
