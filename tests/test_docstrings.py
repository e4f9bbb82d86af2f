"""Docstrings: every example runs, and everything public has one of a fixed shape."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import mae_keras

PACKAGES = (
    "ops",
    "layers",
    "losses",
    "models",
    "data",
    "training",
    "evaluation",
    "figures",
    "interop",
    "runs",
    "testing",
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mae_keras.__path__, "mae_keras.")
    if not module.name.endswith("__main__")
)
# Whose examples train, or open a data set.
SLOW = {
    "mae_keras.models.classifier",
    "mae_keras.models.inspection",
    "mae_keras.runs.comparison",
    "mae_keras.runtime.tf_data",
    "mae_keras.testing.encoder",
    "mae_keras.testing.masking",
    "mae_keras.training.callbacks",
}
# Users meet these as results, errors or bases: `Attributes:` or prose describes them.
NOT_CONSTRUCTED = {
    "data.ArraySplit",
    "data.FolderSplit",
    "data.ImageData",
    "data.MappedSplit",
    "data.Split",
    "data.StreamSplit",
    "data.TableData",
    "evaluation.AbnormalityMethod",
    "evaluation.AbnormalityReport",
    "evaluation.AbnormalityScores",
    "evaluation.Embedding",
    "evaluation.Calibration",
    "evaluation.CalibrationBin",
    "evaluation.ClassReport",
    "evaluation.ClassScores",
    "evaluation.FineTuneResult",
    "evaluation.KNNResult",
    "evaluation.LabelFraction",
    "evaluation.LinearProbe",
    "evaluation.LinearProbeResult",
    "evaluation.Localization",
    "evaluation.MeanInterval",
    "evaluation.MembershipResult",
    "evaluation.PaperProbeResult",
    "evaluation.RestorationComparison",
    "evaluation.RestorationScore",
    "evaluation.ScreeningReport",
    "evaluation.SegmentationReport",
    "evaluation.SegmentationScores",
    "evaluation.SegmenterTraining",
    "interop.TensorReport",
    "interop.VerificationError",
    "interop.WeightsReport",
    "layers.PatchMasking",
    "models.FlopCount",
    "models.MaskedModel",
    "models.PatchPrediction",
    "models.Preset",
    "models.Reconstruction",
    "models.Restoration",
    "runs.CallbackError",
    "runs.Checkpoint",
    "runs.DamagedError",
    "runs.Interrupted",
    "runs.LockedError",
    "training.LostProcessError",
    "training.NonFiniteError",
    "training.OutOfMemoryError",
}
# They train, compiled as a user would have it.
SLOW = {
    "mae_keras.evaluation.abnormality",
    "mae_keras.evaluation.batch_norm_probe",
    "mae_keras.evaluation.fine_tuning",
    "mae_keras.models.dense_masked_autoencoder",
    "mae_keras.models.explanation",
}
LONG = {"mae_keras.models.masked_autoencoder"}  # under XLA


def public_names(package):
    """Exported classes and functions; a package without `__all__` exports what it imports."""
    module = importlib.import_module(f"mae_keras.{package}")
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    values = {name: getattr(module, name) for name in names}
    documented = {n: v for n, v in values.items() if inspect.isclass(v) or inspect.isfunction(v)}
    return sorted((f"{package}.{name}", value) for name, value in documented.items())


PUBLIC = [pair for package in PACKAGES for pair in public_names(package)]
CONSTRUCTED = [pair for pair in PUBLIC if pair[0] not in NOT_CONSTRUCTED]
EVERYTHING_PUBLIC = pytest.mark.parametrize(
    "value", [value for _, value in PUBLIC], ids=[name for name, _ in PUBLIC]
)


def arguments_of(value):
    """What a caller passes. A class that hides its own construction has none to describe."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return []
    return [p.name for p in parameters]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                mark
                for mark, names in ((pytest.mark.slow, SLOW), (pytest.mark.long, LONG))
                if name in names
            ],
        )
        for name in ["mae_keras", *MODULES]
    ],
)
def test_examples_give_what_they_show(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in ("mae_keras", *MODULES)
    ],
)
def test_every_module_says_what_it_owns(name):
    doc = importlib.import_module(name).__doc__
    assert doc and doc.strip()


def test_packages_export_something():
    assert {name.partition(".")[0] for name, _ in PUBLIC} == set(PACKAGES)


@EVERYTHING_PUBLIC
def test_a_public_name_has_a_summary_line(value):
    lines = (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or ""
    lines = inspect.cleandoc(lines).splitlines()
    assert lines and lines[0].strip()
    assert len(lines) == 1 or not lines[1].strip(), "a blank line follows the summary"
    # the docstring that Python gives a dataclass is its signature
    assert not lines[0].startswith(f"{value.__name__}(")


@EVERYTHING_PUBLIC
def test_a_public_name_describes_its_arguments(value):
    if not arguments_of(value):
        return
    doc = inspect.getdoc(value) or ""
    sections = {line.strip() for line in doc.splitlines()}
    assert sections & {"Args:", "Attributes:"}, f"{value.__qualname__} has no `Args:`"


def test_what_needs_no_example_exists():
    assert {name for name, _ in PUBLIC} >= NOT_CONSTRUCTED


@pytest.mark.parametrize(
    "value", [value for _, value in CONSTRUCTED], ids=[name for name, _ in CONSTRUCTED]
)
def test_a_public_name_has_an_example(value):
    doc = inspect.getdoc(value) or ""
    shown = ("Example:" in doc or "Examples:" in doc) and ">>> " in doc
    assert shown, f"{value.__qualname__} has no `Example:`"
