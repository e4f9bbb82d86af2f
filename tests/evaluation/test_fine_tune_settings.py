"""The numbers of a fine-tuning run: what follows from them, and what is refused."""

import pytest

from mae_keras.evaluation import FineTuneSettings


@pytest.mark.parametrize(
    ("epochs", "warmup_epochs", "expected"),
    [(100, None, 500), (20, None, 200), (1, None, 10), (20, 0.5, 50), (20, 0, 0), (2, 1.999, 199)],
)
def test_warmup_is_a_tenth_at_most_five_epochs_unless_given(epochs, warmup_epochs, expected):
    settings = FineTuneSettings(epochs, warmup_epochs=warmup_epochs)
    assert settings.warmup_steps(steps_per_epoch=100) == expected


def test_the_single_step_of_a_run_is_no_warmup():
    assert FineTuneSettings(1, warmup_epochs=0.9).warmup_steps(steps_per_epoch=1) == 0


def test_layers_decay_unless_all_starts_fresh():
    assert FineTuneSettings(1).effective_layer_decay == 0.75
    assert FineTuneSettings(1, from_scratch=True).effective_layer_decay == 1.0
    assert FineTuneSettings(1, from_scratch=True, layer_decay=0.5).effective_layer_decay == 0.5


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epochs": 0}, "`epochs` must be an int from 1 to"),
        ({"epochs": 1.5}, "`epochs` must be an int from 1 to"),
        ({"batch_size": 0}, "`batch_size` must be an int from 1"),
        ({"seed": -1}, "`seed` must be an int from 0"),
        ({"base_learning_rate": 0.0}, "`base_learning_rate` must be"),
        ({"weight_decay": -0.1}, "`weight_decay` must be .*at least 0"),
        ({"layer_decay": 0.0}, r"`layer_decay` must be"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` must be"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be"),
        ({"ema_momentum": float("nan")}, r"`ema_momentum` must be"),
        ({"warmup_epochs": 2}, "`warmup_epochs` must be at least 0 and less than `epochs`"),
    ],
)
def test_numbers_out_of_range_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FineTuneSettings(**{"epochs": 2, **kwargs})
