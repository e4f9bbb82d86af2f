"""What is refused before Keras sees it, and in which words."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.models.checks import check_input, check_shape, check_values

SHAPE = (8, 8, 1)
GOOD = np.full((2, 8, 8, 1), 200, "uint8")


def check(x, value_range=(0.0, 255.0)):
    check_input(x, SHAPE, value_range)


def dataset(array, *more):
    return tf.data.Dataset.from_tensor_slices((array, *more) if more else array).batch(2)


@pytest.mark.parametrize(
    "x",
    [
        GOOD,
        GOOD.astype("float32"),
        GOOD.astype("float64"),
        GOOD.astype("int64"),
        np.zeros((2, 8, 8, 1), "float32"),
        np.full((2, 8, 8, 1), np.nan, "float32"),
        tf.constant(GOOD),
        dataset(GOOD),
        dataset(GOOD.astype("float32")),
        dataset(GOOD, np.arange(2)),
    ],
    ids=[
        *("uint8", "float32", "float64", "int64", "black", "all missing", "tensor"),
        *("dataset", "float dataset", "labeled dataset"),
    ],
)
def test_images_that_fit_are_let_through(x):
    check(x)


def test_a_generator_is_not_consumed():
    generator = iter([GOOD, GOOD])
    check(generator)
    assert len(list(generator)) == 2


# The same images as an array and as a dataset get the same words.
both = pytest.mark.parametrize("wrap", [np.asarray, dataset], ids=["array", "dataset"])


@both
def test_a_missing_axis_is_hinted_at(wrap):
    with pytest.raises(ValueError, match=r"must have 4 axes.*\(`images\[\.\.\., None\]`\)"):
        check(wrap(GOOD[..., 0]))


@both
def test_a_wrong_rank_is_named(wrap):
    with pytest.raises(ValueError, match="must have 4 axes, .*channels last"):
        check(wrap(GOOD[..., None]))


@both
def test_a_wrong_size_is_named(wrap):
    with pytest.raises(ValueError, match=r"\('batch', 8, 8, 1\).*Received: images.shape=.*7, 8"):
        check(wrap(GOOD[:, :7]))


@both
def test_channels_first_are_refused(wrap):
    with pytest.raises(ValueError, match="channels last"):
        check(wrap(np.moveaxis(GOOD.repeat(3, axis=-1), -1, 1)))


@both
def test_unit_floats_under_a_range_of_bytes_are_refused(wrap):
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\].*Pass the images undivided"):
        check(wrap(GOOD.astype("float32") / 255))


@both
def test_values_outside_the_range_are_refused(wrap):
    with pytest.raises(ValueError, match="within the model's value_range.*from -1 to 200"):
        check(wrap(np.where(np.arange(8) > 3, 200.0, -1.0)[None, :, None, None] + 0.0 * GOOD))


@both
def test_infinity_is_refused(wrap):
    with pytest.raises(ValueError, match=r"`images` must be finite \(NaN means missing\)"):
        check(wrap(np.full((2, 8, 8, 1), np.inf, "float32")))


@both
def test_infinity_is_refused_without_a_range(wrap):
    with pytest.raises(ValueError, match="must be finite"):
        check(wrap(np.full((2, 8, 8, 1), -np.inf, "float32")), None)


@both
def test_bytes_under_a_unit_range_are_refused(wrap):
    with pytest.raises(ValueError, match=r"value_range=\(0.0, 1.0\)"):
        check(wrap(GOOD), (0.0, 1.0))


@both
def test_nothing_is_refused(wrap):
    with pytest.raises(ValueError, match="`images` must not be empty"):
        check(wrap(GOOD[:0]))


@both
def test_complex_numbers_are_refused(wrap):
    with pytest.raises(TypeError, match="`images` must be real numbers. Received"):
        check(wrap(GOOD.astype("complex64")))


@both
def test_text_is_refused(wrap):
    with pytest.raises(TypeError, match="`images` must be real numbers. Received"):
        check(wrap(GOOD.astype(str)))


def test_a_dictionary_is_refused_with_its_keys():
    with pytest.raises(
        TypeError, match=r"not a dictionary. Received: a dict with keys \['image'\]"
    ):
        check({"image": GOOD})


def test_a_dataset_of_dictionaries_is_refused_with_its_keys():
    with pytest.raises(TypeError, match="keys"):
        check(dataset({"image": GOOD, "label": np.arange(2)}))


def test_a_list_of_arrays_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match="Received: list of 2; numpy.stack"):
        check([GOOD[0], GOOD[1]])


def test_object_arrays_are_refused():
    ragged = np.empty((2, 8, 8, 1), dtype=object)
    with pytest.raises(TypeError, match="real numbers. Received: images.dtype=object"):
        check(ragged)


def test_an_unbatched_dataset_is_refused_as_one_axis_short():
    with pytest.raises(ValueError, match="One axis is missing: the batch"):
        check(tf.data.Dataset.from_tensor_slices(GOOD))


def test_checking_a_dataset_does_not_consume_it():
    batches = dataset(GOOD.astype("float32"))
    check(batches)
    assert len(list(batches)) == 1


def test_a_little_rounding_beyond_the_range_is_let_through():
    check_values(np.array([0.0, 255.01], "float32"), (0.0, 255.0))


def test_unknown_sizes_are_let_through():
    check_shape((None, None, None, 1), SHAPE)


def test_signed_ranges_are_checked_at_both_ends():
    check_values(np.array([-1.0, 1.0], "float32"), (-1.0, 1.0))
    with pytest.raises(ValueError, match="from -2 to 1"):
        check_values(np.array([-2.0, 1.0], "float32"), (-1.0, 1.0))


def test_missing_pixels_do_not_hide_unit_floats():
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        check_values(np.array([np.nan, 0.5], "float32"), (0.0, 255.0))


def test_values_beyond_the_range_by_overshoot_are_refused_with_the_way_out():
    def received(*values):
        with pytest.raises(ValueError, match="within the model's value_range") as caught:
            check_values(np.array(values), (0.0, 255.0))
        return str(caught.value)

    assert "overshoots: clip with tf.clip_by_value(images, 0, 255)" in received(-28.6, 291.3)
    assert "clip" not in received(-28.6, 510.0)
    assert "clip" not in received(-2.5, 100)  # standardized


def test_whole_numbers_up_to_1_are_dark_images_and_no_fractions_of_255():
    check_values(np.array([0.0, 1.0, np.nan, 1e-6]), (0.0, 255.0))
    with pytest.raises(ValueError, match=r"scaled to \[0, 1\]"):
        check_values(np.array([0.0, 1.0, 1 / 255]), (0.0, 255.0))
