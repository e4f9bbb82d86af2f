"""Numbers with which an optimizer would learn nothing, or backwards, are refused."""

import math

import pytest

from mae_keras.training import (
    LARS,
    LayerDecayAdamW,
    MaskedAdamW,
    fine_tuning_optimizer,
    pretraining_optimizer,
    warmup_cosine,
)

RATES = {"base_learning_rate": 1e-3, "batch_size": 64, "total_steps": 10}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", -256),
        ("batch_size", 0),
        ("batch_size", math.nan),
        ("base_learning_rate", -1e-3),
        ("base_learning_rate", math.nan),
        ("base_learning_rate", None),
        ("total_steps", 0),
        ("total_steps", 10.5),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
    ],
)
@pytest.mark.parametrize("build", [pretraining_optimizer, fine_tuning_optimizer])
def test_builders_refuse_what_trains_nothing(build, name, value):
    more = {"num_layers": 2} if build is fine_tuning_optimizer else {}
    with pytest.raises(ValueError, match=f"`{name}` must be .*Received: {name}="):
        build(**{**RATES, **more, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("weight_decay", math.inf),
        ("weight_decay", -0.1),
    ],
)
@pytest.mark.parametrize("cls", [MaskedAdamW, LayerDecayAdamW, LARS])
def test_optimizers_refuse_what_trains_nothing(cls, name, value):
    more = {"num_layers": 2} if cls is LayerDecayAdamW else {}
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        cls(**{**more, name: value})


@pytest.mark.parametrize(("name", "value"), [("beta_1", 1.0), ("beta_2", -0.5)])
@pytest.mark.parametrize("cls", [MaskedAdamW, LayerDecayAdamW])
def test_moments_must_decay(cls, name, value):
    more = {"num_layers": 2} if cls is LayerDecayAdamW else {}
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        cls(**{**more, name: value})


def test_schedules_and_saved_configs_are_still_taken():
    schedule = warmup_cosine(1e-3, 10, 2)
    for optimizer in (
        MaskedAdamW(schedule),
        LARS(schedule),
        LayerDecayAdamW(schedule, num_layers=2),
    ):
        again = type(optimizer).from_config(optimizer.get_config())
        assert float(again.learning_rate) == float(optimizer.learning_rate)
