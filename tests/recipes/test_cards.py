"""A model card holds what was measured and nothing else."""

import json

import pytest

from mae_keras.recipes import model_card
from mae_keras.training import RunFolder

CONFIG = {"dataset": "digits", "preset": "nano", "epochs": 3, "image_size": None, "seed": 0}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_what_was_not_measured_is_not_on_it(folder):
    text = model_card(RunFolder(folder))
    assert text.startswith("# Masked autoencoder, nano, pretrained on digits\n")
    assert "| epochs | 3 |" in text
    assert "image size" not in text
    for heading in ("## Reconstruction", "## Evaluation", "!["):
        assert heading not in text


def test_measured_numbers_and_pictures_are_on_it(folder):
    metrics = {"hidden_loss": 0.25, "baseline_loss": {"mean_image": 0.5}, "wall_seconds": 12.5}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    entries = {"knn": {"accuracies": {"trained": 0.875}}, "layers": {"error": "ValueError: no"}}
    (folder / "evaluation.json").write_text(json.dumps(entries))
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "layers.png").write_bytes(b"")
    text = model_card(RunFolder(folder))
    assert "0.25 (predictors that need no training, mean image 0.5)" in text
    assert "| wall seconds | 12.5 |" in text
    assert "87.5" in text
    assert "no" not in [line.split(": ")[-1] for line in text.splitlines()]
    assert "![Linear probe after each block](evaluation/layers.png)" in text


@pytest.mark.parametrize(
    ("known", "size"), [({"preset": "base"}, "base"), ({}, "of its own size")], ids=["base", "none"]
)
def test_imported_weights_are_not_said_to_be_trained_on_what_they_are_evaluated_on(
    tmp_path, known, size
):
    config = {"imported_from": "vit.pth", "dataset": "cifar10", "patch_size": 4, **known}
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = model_card(RunFolder(tmp_path))
    assert text.startswith(f"# Masked autoencoder, {size}, weights imported from vit.pth\n")
    assert "| evaluated on | cifar10 |" in text
    assert "rain" not in text.split("## Use")[0].split("## Settings")[1]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config.json' cannot be read"):
        model_card(RunFolder(tmp_path))
