"""SavedModels: what they say to a process without mae_keras, and when none is written."""

import subprocess
import sys

import numpy as np
import pytest

from mae_keras.interop import VerificationError, export_saved_model
from mae_keras.interop import export as module

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "saved_model"
    return folder, export_saved_model(tiny, folder)


def saved_model_cli(*arguments):
    """TensorFlow's own tool; it imports Keras in no way that would know mae_keras."""
    main = "import sys; sys.modules['mae_keras'] = None\n"
    main += "from tensorflow.python.tools.saved_model_cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_signature_is_verified(exported):
    _, differences = exported
    assert set(differences) == {
        *("serving_default/features", "encode/features", "inpaint/pasted", "inpaint/patch_mask"),
        *("reconstruct/prediction", "reconstruct/pasted"),
    }
    assert max(differences.values()) <= 1e-5


def test_a_process_without_mae_keras_gets_what_the_live_model_gives(
    exported, tiny, images, patch_masks, holes
):
    inputs = {"images": images, "patch_mask": patch_masks, "missing": holes}
    made = module.run_in_clean_process(exported[0], inputs)
    live = tiny.reconstruct(images, patch_masks)
    close = {"rtol": 1e-5, "atol": 2e-3}  # pixels reach 255: float32 rounding
    for count in (5, 1):
        expected = {
            "serving_default/features": tiny.encode(images[:count]),
            "encode/features": tiny.encode(images[:count]),
            "reconstruct/prediction": live.prediction[:count],
            "reconstruct/pasted": live.pasted[:count],
            "inpaint/pasted": tiny.inpaint(images[:count], holes[:count]),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(made[f"{count}/{name}"], value, **close)
        touched = made[f"{count}/inpaint/patch_mask"].reshape(-1, 4, 4)
        assert touched.sum() == 4 * count and touched[:, 1:3, 0:2].all()


def test_a_classifier_gives_features_logits_and_probabilities(make_classifier, images, tmp_path):
    model = make_classifier(class_names=["cat", "dog", "Ibiß"])
    differences = export_saved_model(model, tmp_path / "saved_model")
    assert {"classify/logits", "serving_default/class_names"} < set(differences)
    made = module.run_in_clean_process(tmp_path / "saved_model", {"images": images})
    np.testing.assert_allclose(
        made["5/classify/probabilities"], model.probabilities(images), atol=1e-6
    )
    np.testing.assert_allclose(made["5/encode/features"], model.encode(images), atol=1e-5)
    np.testing.assert_array_equal(
        made["5/serving_default/probabilities"], made["5/classify/probabilities"]
    )
    names = np.char.decode(made["5/serving_default/class_names"], "utf-8")
    assert names.tolist() == [["cat", "dog", "Ibiß"]] * 5


@pytest.mark.parametrize(
    "options",
    [
        {"value_range": (0, 1), "normalize_targets": True},
        pytest.param({"image_shape": (4, 4, 4, 1)}, marks=pytest.mark.long),
        pytest.param(
            {"image_shape": (4, 6, 8, 1), "patch_size": (2, 3, 4), "value_range": None},
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"image_shape": (4, 8, 8, 3), "patch_size": (2, 4, 4), "value_range": None},
            marks=pytest.mark.long,
        ),
        {"dtype": "mixed_bfloat16", "use_class_token": False},
    ],
    ids=["floats with NaN, standardized", "three axes", "volumes", "video", "half precision"],
)
def test_other_models_pass_verification(make_tiny, tmp_path, options):
    assert export_saved_model(make_tiny(**options), tmp_path / "saved_model")


def test_only_what_is_asked_for_is_written(tiny, images, tmp_path):
    differences = export_saved_model(tiny, tmp_path / "saved_model", signatures=["encode"])
    assert set(differences) == {"serving_default/features", "encode/features"}


@pytest.mark.long
def test_saved_model_cli_shows_every_signature(exported):
    shown = saved_model_cli("show", "--dir", exported[0], "--all")
    for name in ("serving_default", "encode", "reconstruct", "inpaint"):
        assert f"signature_def['{name}']" in shown
    assert "DT_UINT8" in shown and "(-1, 8, 8, 1)" in shown


def test_saved_model_cli_runs_a_signature(exported, tiny, images, patch_masks, tmp_path):
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "masks.npy", patch_masks)
    given = f"images={tmp_path / 'images.npy'};patch_mask={tmp_path / 'masks.npy'}"
    saved_model_cli(
        *("run", "--dir", exported[0], "--tag_set", "serve", "--signature_def", "reconstruct"),
        *("--inputs", given, "--outdir", tmp_path),
    )
    live = tiny.reconstruct(images, patch_masks)
    np.testing.assert_allclose(np.load(tmp_path / "pasted.npy"), live.pasted, atol=2e-3)


def test_an_export_that_is_wrong_leaves_nothing(tiny, tmp_path, monkeypatch):
    live = module.run_in_clean_process

    def wrong(*arguments):
        made = live(*arguments)
        made["1/inpaint/pasted"] += 1.0
        return made

    monkeypatch.setattr(module, "run_in_clean_process", wrong)
    with pytest.raises(VerificationError, match="pasted by 0.00.* Nothing was written"):
        export_saved_model(tiny, tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())


def test_an_export_that_does_not_run_elsewhere_leaves_the_previous_one(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "saved_model"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("previous")

    def broken(_, path, __):
        (module.pathlib.Path(path)).mkdir()

    monkeypatch.setattr(module, "write_saved_model", broken)
    with pytest.raises(VerificationError, match="does not run outside mae_keras"):
        export_saved_model(tiny, folder)
    assert (folder / "saved_model.pb").read_text() == "previous"
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_an_occupied_folder_is_refused_before_any_work(tiny, tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").touch()
    monkeypatch.setattr(module, "write_saved_model", None)
    with pytest.raises(ValueError, match="`path` must be a new or empty folder"):
        export_saved_model(tiny, tmp_path)
