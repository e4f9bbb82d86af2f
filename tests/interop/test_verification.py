"""How an exported model is compared with the live one."""

import numpy as np
import pytest

from mae_keras.interop.export import (
    VerificationError,
    check_equal,
    example_inputs,
    live_outputs,
    running,
    verify_outputs,
)
from mae_keras.models import DenseMaskedAutoencoder
from mae_keras.models.exporting import signatures_of


def one(*values):
    return {"x": np.array(values)}


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1), None], ids=str)
def test_examples_are_what_the_model_takes(make_tiny, value_range):
    model = make_tiny(value_range=value_range)
    inputs = example_inputs(model)
    assert inputs["images"].dtype == ("uint8" if value_range == (0, 255) else "float32")
    assert np.isnan(inputs["images"].astype("float32")).any() == (value_range != (0, 255))
    hidden = inputs["patch_mask"].sum(1)
    assert len(set(hidden.tolist())) > 1 and hidden.max() < model.num_patches


@pytest.mark.slow
@pytest.mark.parametrize("image_shape", [(8, 8, 1), (16, 2), (2, 8, 3), (4, 4, 4, 1)], ids=str)
def test_examples_hide_some_patches_and_never_all(make_tiny, image_shape):
    inputs = example_inputs(model := make_tiny(image_shape))
    pasted = model.inpaint(inputs["images"], inputs["missing"])  # refuses what hides all
    assert inputs["missing"].any(axis=tuple(range(1, len(image_shape)))).all()
    assert (pasted != inputs["images"]).any()


def test_examples_are_the_same_every_time(tiny):
    again = example_inputs(tiny)
    for name, value in example_inputs(tiny).items():
        np.testing.assert_array_equal(value, again[name])


@pytest.mark.slow
def test_live_outputs_have_the_keys_of_the_signatures(tiny, make_classifier):
    for model in (tiny, make_classifier(), DenseMaskedAutoencoder((4, 4, 3), (8,))):
        inputs = example_inputs(model)
        for name, signature in signatures_of(model).items():
            arguments = [inputs[spec.name] for spec in signature.inputs]
            assert set(signature.function(*arguments)) == set(live_outputs(model, name, inputs))


def test_differences_are_relative_to_the_largest_output():
    assert check_equal(one(1.0, 100.1), one(1.0, 100.0), 1e-2)["x"] == pytest.approx(1e-3)


def test_a_difference_beyond_the_tolerance_is_an_error_with_its_size():
    with pytest.raises(VerificationError, match="within 0.001 .* differs: x by 0.5"):
        check_equal(one(1.0, 3.0), one(1.0, 2.0), 1e-3)


def test_half_precision_may_differ_by_more():
    check_equal(one(1.001), one(1.0), 1e-5, "bfloat16")
    with pytest.raises(VerificationError):
        check_equal(one(1.1), one(1.0), 1e-5, "bfloat16")


def test_nan_where_the_live_model_has_a_number_is_a_difference():
    with pytest.raises(VerificationError, match="x by inf"):
        check_equal(one(np.nan), one(1.0), 1e-3)
    assert check_equal(one(np.nan, 1.0), one(np.nan, 1.0), 1e-3) == {"x": 0.0}


def test_an_infinity_hides_no_other_difference():
    assert check_equal(one(np.inf, 2.0), one(np.inf, 2.0), 1e-3) == {"x": 0.0}
    with pytest.raises(VerificationError, match="x by 0.5"):
        check_equal(one(np.inf, 3.0), one(np.inf, 2.0), 1e-3)
    for other in (-np.inf, np.nan, 1.0):
        with pytest.raises(VerificationError, match="x by inf"):
            check_equal(one(other, 2.0), one(np.inf, 2.0), 1e-3)


def test_other_shapes_and_other_keys_are_errors():
    with pytest.raises(VerificationError, match=r"has shape \(2,\) .* \(1,\)"):
        check_equal(one(1.0, 2.0), one(1.0), 1e-3)
    with pytest.raises(VerificationError, match="gives .*'y'.* the live one .*'x'"):
        check_equal({"y": np.zeros(1)}, one(1.0), 1e-3)


@pytest.mark.slow
def test_a_model_that_is_wrong_for_single_images_only_is_found(tiny):
    def run(name, inputs):
        made = live_outputs(tiny, name, inputs)
        return {key: value + (len(value) == 1) for key, value in made.items()}

    with pytest.raises(VerificationError, match="features by"):
        verify_outputs(tiny, ["encode"], run, 1e-5)


def test_a_model_that_computes_in_float64_is_compared_as_in_float32():
    assert check_equal(one(1.0), one(1.0), 1e-5, "float64") == {"x": 0.0}


def test_an_error_of_a_runtime_is_one_of_verification():
    with pytest.raises(VerificationError, match="LiteRT does not run it: ValueError"):
        with running("LiteRT"):
            raise ValueError
    with pytest.raises(VerificationError, match="tf2onnx does not take it: no rule"):
        with running("tf2onnx", "does not take it"):
            raise NotImplementedError("no rule")


def test_a_full_disk_is_no_error_of_a_runtime():
    with pytest.raises(OSError, match="disk full"), running("LiteRT"):
        raise OSError("disk full")


def test_outputs_without_a_finite_number_cannot_be_compared():
    with pytest.raises(VerificationError, match="`x` of the live model holds no finite number"):
        check_equal(one(np.nan, np.inf), one(np.nan, np.inf), 1e-3)


def test_strings_must_be_the_same():
    names = {"class_names": np.array([[b"cat", b"dog"]])}
    assert check_equal(names, names, 1e-5) == {"class_names": 0.0}
    swapped = {"class_names": np.array([[b"dog", b"cat"]])}
    with pytest.raises(VerificationError, match="class_names by inf"):
        check_equal(swapped, names, 1e-5)
