"""Mask-ratio schedules: bounds, order, few levels, round trip."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_keras.training import CosineMaskRatio, LinearMaskRatio, StepMaskRatio

RATIOS = st.floats(0.05, 0.95)


@given(RATIOS, RATIOS, st.integers(1, 60), st.integers(2, 6))
@pytest.mark.parametrize("kind", [LinearMaskRatio, CosineMaskRatio])
def test_ramps_go_one_way_through_few_levels(kind, start, end, num_epochs, num_levels):
    schedule = kind(start, end, num_epochs, num_levels)
    ratios = [schedule(epoch) for epoch in range(num_epochs + 3)]
    assert ratios[0] == pytest.approx(start)
    assert ratios[-1] == pytest.approx(schedule(10**6))
    if num_epochs > 1:
        assert ratios[-1] == pytest.approx(end)
    steps = [b - a for a, b in zip(ratios, ratios[1:], strict=False)]
    assert all(step * (end - start) >= 0 for step in steps)
    assert len(set(ratios)) <= num_levels
    assert set(ratios) <= set(schedule.levels)


def test_cosine_is_slower_than_linear_at_first():
    linear, cosine = LinearMaskRatio(0.1, 0.9, 101, 81), CosineMaskRatio(0.1, 0.9, 101, 81)
    assert cosine(10) < linear(10)
    assert cosine(50) == pytest.approx(linear(50))
    assert cosine(90) > linear(90)


@pytest.mark.parametrize(
    "schedule",
    [
        LinearMaskRatio(0.2, 0.8, 5, 3),
        CosineMaskRatio(0.2, 0.8, 5, 3),
        StepMaskRatio([3, 4], [0.1, 0.2, 0.3]),
    ],
    ids=["linear", "cosine", "steps"],
)
def test_config_round_trip(schedule):
    config = json.loads(json.dumps(schedule.get_config()))
    again = type(schedule).from_config(config)
    assert [again(epoch) for epoch in range(8)] == [schedule(epoch) for epoch in range(8)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearMaskRatio(0.0, 0.5, 3), "`start` must be"),
        (lambda: CosineMaskRatio(0.5, 1.0, 3), "`end` must be"),
        (lambda: LinearMaskRatio(0.1, 0.5, 3, num_levels=1), "`num_levels` must be"),
        (lambda: StepMaskRatio([3, 2], [0.1, 0.2, 0.3]), "`boundaries` must rise"),
        (lambda: StepMaskRatio([3], [0.1]), "one entry more"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
