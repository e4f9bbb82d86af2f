"""`mae-keras export`: what it writes and prints, and how it refuses."""

import os
import sys

import keras
import numpy as np
import pytest
from command_line import refusal, run

from mae_keras.interop import export as module
from mae_keras.interop import export as verification
from mae_keras.interop import litert, onnx
from mae_keras.models import (
    DenseMaskedAutoencoder,
    ImageClassifier,
    MAEDecoder,
    MaskedAutoencoder,
    ViTEncoder,
)

ENDINGS = {"saved-model": "", "onnx": ".onnx", "litert": ".tflite"}


def write_run(folder, model):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """The folder of a run whose model is quickly made and exported."""
    model = DenseMaskedAutoencoder((4, 4, 1), (8,))
    return write_run(tmp_path_factory.mktemp("runs") / "dense", model)


@pytest.fixture
def quick(monkeypatch):
    """What SavedModels say comes from `said`; writing and reading them takes seconds."""
    said = {}
    monkeypatch.setattr(module, "write_saved_model", lambda _, path, __: os.mkdir(path))
    monkeypatch.setattr(module, "run_in_clean_process", lambda *_: said)
    return said


def test_what_was_given_is_passed_on_and_what_was_verified_printed(capsys, monkeypatch, tmp_path):
    from mae_keras.runs import exporting as trained

    seen = []

    def exported(*arguments):
        seen.extend(arguments)
        return {"encode/features": 2e-8, "inpaint/pasted": 3e-7, "inpaint/patch_mask": 0.0}

    monkeypatch.setattr(trained, "export_run", exported)
    (tmp_path / "config.json").write_text("{}")
    out = tmp_path / "a.tflite"
    given = ["--signature", "encode", "inpaint", "--quantize"]
    code, printed, _ = run(capsys, "export", tmp_path, "--out", out, *given)
    assert not code
    assert seen == [tmp_path, out, "litert", ["encode", "inpaint"], True]
    assert printed.splitlines() == [
        f"Wrote {out}",
        "Verified; largest differences from the live model, relative: encode 2e-08, inpaint 3e-07",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "format, library", [("saved-model", None), ("onnx", "tf2onnx"), ("litert", "ai_edge_litert")]
)
def test_every_format_is_written_and_verified(capsys, dense, tmp_path, format, library):
    if library:
        pytest.importorskip(library)
    out = tmp_path / f"model{ENDINGS[format]}"
    code, printed, err = run(capsys, "export", dense, "--format", format, "--out", out)
    assert code == 0, err
    assert out.exists()
    assert any(line.startswith("Verified; ") for line in printed.splitlines())
    signatures = ["encode"] if format == "onnx" else ["encode", "reconstruct", "inpaint"]
    assert all(f"{name} " in printed for name in signatures)


@pytest.mark.parametrize("format", ENDINGS)
def test_a_path_that_is_taken_is_refused(capsys, dense, tmp_path, format):
    out = tmp_path / f"model{ENDINGS[format]}"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    line = refusal(capsys, "export", dense, "--format", format, "--out", out)
    assert "`--out` must be a" in line and str(out) in line
    assert (out / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("format", ENDINGS)
def test_a_path_that_cannot_be_written_is_refused(capsys, dense, tmp_path, format):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / f"model{ENDINGS[format]}"
    line = refusal(capsys, "export", dense, "--format", format, "--out", out)
    assert "`--out` must lie in a folder" in line


def test_another_ending_is_refused(capsys, dense, tmp_path):
    line = refusal(capsys, "export", dense, "--format", "onnx", "--out", tmp_path / "model.pb")
    assert "must end in '.onnx'" in line


@pytest.mark.parametrize(
    "format, library, extra",
    [("onnx", "tf2onnx", "onnx"), ("litert", "ai_edge_litert.interpreter", "litert")],
)
def test_a_missing_extra_is_named(capsys, dense, tmp_path, monkeypatch, format, library, extra):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, sys)
    monkeypatch.setitem(sys.modules, library, None)
    out = tmp_path / f"model{ENDINGS[format]}"
    line = refusal(capsys, "export", dense, "--format", format, "--out", out)
    assert f"needs `{library}`: pip install '" in line and line.endswith(f"[{extra}]'")


@pytest.mark.parametrize("format", ENDINGS)
def test_an_unknown_signature_is_refused_with_those_there_are(capsys, dense, tmp_path, format):
    out = tmp_path / f"model{ENDINGS[format]}"
    line = refusal(
        capsys, "export", dense, "--format", format, "--out", out, "--signature", "classify"
    )
    assert "encode, reconstruct, inpaint" in line and "Received: 'classify'" in line


def test_what_a_format_cannot_express_is_refused(capsys, tmp_path):
    encoder = ViTEncoder((4, 4, 4, 1), 2, 16, 1, 2, 16)
    model = MaskedAutoencoder(encoder, MAEDecoder(16, 1, 2, 16))
    folder = write_run(tmp_path / "run", model)
    out = tmp_path / "model.tflite"
    line = refusal(capsys, "export", folder, "--format", "litert", "--out", out)
    assert "LiteRT transposes at most six axes" in line


@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_half_precision_is_refused_by_converters(capsys, tmp_path, format):
    model = DenseMaskedAutoencoder((4, 4, 1), (8,), dtype="mixed_bfloat16")
    folder = write_run(tmp_path / "run", model)
    out = tmp_path / f"model{ENDINGS[format]}"
    line = refusal(capsys, "export", folder, "--format", format, "--out", out)
    assert "compute in float32" in line


def test_converters_need_tensorflow(capsys, dense, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    out = tmp_path / "model.onnx"
    line = refusal(capsys, "export", dense, "--format", "onnx", "--out", out)
    assert "KERAS_BACKEND=tensorflow" in line


@pytest.mark.parametrize("format", ["saved-model", "onnx"])
def test_only_litert_is_quantized(capsys, dense, tmp_path, format):
    out = tmp_path / f"model{ENDINGS[format]}"
    line = refusal(capsys, "export", dense, "--format", format, "--out", out, "--quantize")
    assert "`--quantize` is for format='litert'" in line


def test_an_onnx_file_holds_one_signature(capsys, dense, tmp_path):
    names = ["--signature", "encode", "--signature", "inpaint"]
    line = refusal(
        capsys, "export", dense, "--format", "onnx", "--out", tmp_path / "model.onnx", *names
    )
    assert "holds one signature" in line


def test_an_export_that_is_wrong_is_one_line_and_not_kept(capsys, dense, tmp_path, quick):
    for count in (1, 3):
        for name in ("serving_default", "encode"):
            quick[f"{count}/{name}/features"] = np.zeros((count, 8), "float32")
    line = refusal(capsys, "export", dense, "--out", tmp_path / "out", "--signature", "encode")
    assert "must equal the live one within 1e-05" in line and "features by" in line
    assert not list(tmp_path.iterdir())


def test_an_export_that_does_not_run_is_one_line(capsys, dense, tmp_path, quick, monkeypatch):
    def broken(*_):
        raise verification.VerificationError("does not run:\nTraceback\n  line 3\nOSError: no")

    monkeypatch.setattr(module, "run_in_clean_process", broken)
    code, _, err = run(capsys, "export", dense, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "OSError: no" in err


@pytest.mark.parametrize(
    "format, converter, extra",
    [
        ("onnx", onnx, ["onnx", "tf2onnx", "onnxruntime"]),
        ("litert", litert, ["ai_edge_litert", "ai_edge_litert.interpreter"]),
    ],
)
def test_a_model_that_a_converter_does_not_take_is_one_line(
    capsys, dense, tmp_path, monkeypatch, format, converter, extra
):
    def fail(*_):
        raise NotImplementedError("no rule for\nFrobnicate")

    for name in extra:
        monkeypatch.setitem(sys.modules, name, sys)
    monkeypatch.setattr(converter, "_convert", fail)
    out = tmp_path / f"model{ENDINGS[format]}"
    line = refusal(capsys, "export", dense, "--format", format, "--out", out)
    assert line.endswith("does not take it: no rule for Frobnicate")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["reconstruct", "a.png", "--out", "b.png"], "has no decoder"),
        (["evaluate", "--protocol", "knn"], "`--protocol` must be left out for a classifier"),
        (["fine-tune", "--out", "c"], "`RUN` must be one of a masked autoencoder"),
    ],
)
def test_a_classifier_is_not_asked_for_what_only_autoencoders_do(
    capsys, tmp_path, monkeypatch, command, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    model = ImageClassifier(ViTEncoder((4, 4, 1), 2, 16, 1, 2, 16), 3)
    folder = write_run(tmp_path / "run", model)
    line = refusal(capsys, command[0], folder, *command[1:])
    assert words in line
