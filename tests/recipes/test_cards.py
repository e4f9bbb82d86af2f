"""A model card holds what was measured and nothing else."""

import json
import re

import pytest

from mae_keras.runs import RunFolder, model_card
from mae_keras.runs.report import write_model_card

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


HOSTILE = "<script>alert(1)</script> | b\n# c `d` [e](javascript:f) $g$"


def test_nothing_in_a_run_is_read_as_html_or_markdown(folder):
    config = {**CONFIG, "dataset": HOSTILE, "preset": HOSTILE, "masking": HOSTILE}
    (folder / "config.json").write_text(json.dumps(config))
    metrics = {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    notes = [f"{HOSTILE} ``` ````"]
    entries = {HOSTILE: {"accuracies": {"trained": 0.875}, "notes": notes}}
    (folder / "evaluation.json").write_text(json.dumps(entries))
    text = model_card(RunFolder(folder))
    page, _, rest = text.partition("`````\n")  # a fence longer than what is in the block
    block, _, after = rest.partition("\n`````\n")
    assert "<script" in block and "<script" not in page + after
    shown = r"&lt;script&gt;alert(1)&lt;/script&gt; \| b # c \`d\` \[e\](javascript:f) \$g\$"
    assert text.startswith(f"# Masked autoencoder, {shown}, pretrained on {shown}\n")
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert f"| masking | {shown} |" in table
    assert f"| {shown} | {shown} |" in table
    for line in table:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert [line for line in page.splitlines() if line.startswith("#")] == [
        f"# Masked autoencoder, {shown}, pretrained on {shown}",
        "## Training",
        "## Evaluation",
    ]


def test_file_names_that_are_no_text_are_written_as_escapes(folder):
    (folder / "config.json").write_text(json.dumps({**CONFIG, "dataset": "caf\udce9"}))
    write_model_card(RunFolder(folder))
    first = (folder / "model_card.md").read_text(encoding="utf-8").splitlines()[0]
    assert first.endswith(r"pretrained on caf\udce9")


def test_it_says_what_a_sample_is_and_how_many_there_were(folder):
    counts = {"train": 1258, "validation": 270, "test": 269, "image_shape": [8, 8, 1]}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "data": counts}))
    text = model_card(RunFolder(folder))
    for row in ("sample shape | 8 × 8 × 1", "train samples | 1,258", "test samples | 269"):
        assert f"| {row} |" in text


def test_every_column_of_the_table_is_explained(folder):
    scores = {"trained": 0.9, "untrained": 0.5, "pca": 0.8, "pixels": 0.7}
    entries = {"knn": {"accuracies": scores, "k": 1}, "layers": {"accuracies": scores, "block": 2}}
    (folder / "evaluation.json").write_text(json.dumps(entries))
    text = model_card(RunFolder(folder))
    assert "neighbors 1" in text and "block 2" in text
    explained = text.split("Columns: ")[1]
    for word in ("`trained`", "`untrained`", "`pca`", "`pixels`", "neighbors", "block", "epochs"):
        assert word in explained
