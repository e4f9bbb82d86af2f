"""What one fine-tuning experiment consists of."""

import pytest

from mae_keras.runs.options import DataOptions, FineTuneOptions, export_format


@pytest.mark.parametrize("num_images", [10, 42, 60, 500, 1258, 3000, 20_000, 60_000])
def test_training_is_about_two_thousand_steps_whatever_the_number_of_images(num_images):
    batch_size, epochs = FineTuneOptions().plan(num_images)
    steps = epochs * (num_images // batch_size)
    assert 1800 <= steps <= 2400
    assert batch_size <= min(128, num_images)


def test_large_data_sets_are_seen_five_times_at_least():
    assert FineTuneOptions().plan(1_000_000) == (128, 5)


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ({"epochs": 3}, (8, 3)),
        ({"steps": 100}, (8, 20)),
        ({"steps": 1}, (8, 1)),
        ({"batch_size": 20, "epochs": 2}, (20, 2)),
        ({"batch_size": 500, "epochs": 2}, (42, 2)),
    ],
)
def test_what_is_given_stands(options, plan):
    assert FineTuneOptions(**options).plan(42) == plan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5, "epochs": 2}, "`steps` and `epochs` exclude each other"),
        ({"layer_decay": 0.0}, "`layer_decay` must be"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"augmentation": "papre"}, "did you mean 'paper'"),
        ({"ema_momentum": 1.0}, "`ema_momentum` must be"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FineTuneOptions(**options)


@pytest.mark.parametrize("splits", [(0.5, 0.5), (0.5, 0.4, 0.2), (1.2, -0.2, 0.0)])
def test_splits_must_add_up(splits):
    with pytest.raises(ValueError, match="`splits` must be three fractions that add up to 1"):
        DataOptions(splits=splits)


def test_one_split_may_be_empty():
    with pytest.raises(ValueError, match="`dataset` and `train` exclude each other"):
        DataOptions(dataset="a", train="b")
    assert DataOptions(splits=[0.8, 0.2, 0]).splits == (0.8, 0.2, 0)


@pytest.mark.parametrize(
    ("out", "format", "expected"),
    [
        ("model.onnx", None, "onnx"),
        ("model.TFLITE", None, "litert"),
        ("served", None, "saved-model"),
        ("v1.2", None, "saved-model"),
        ("model.tflite", "litert", "litert"),
    ],
)
def test_the_format_follows_the_ending(out, format, expected):
    assert export_format(out, format) == expected


@pytest.mark.parametrize(
    ("out", "format", "message"),
    [
        ("model.onnx", "saved-model", "must be a folder"),
        ("model.onnx", "litert", r"must end in '\.tflite'"),
        ("model", "onnx", r"must end in '\.onnx'"),
        ("model", "h5", "`format` must be 'saved-model', 'onnx' or 'litert'"),
    ],
)
def test_an_ending_and_a_format_that_contradict_each_other_are_refused(out, format, message):
    with pytest.raises(ValueError, match=message):
        export_format(out, format)
