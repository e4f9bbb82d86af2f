"""The checks of plain arguments: what they accept, what they refuse, and in which words."""

import math

import numpy as np
import pytest

from mae_keras.arguments import check_choice, check_int, check_number


@pytest.mark.parametrize("value", [1, np.int32(7), 8.0, np.float32(3), True.__index__()])
def test_whole_numbers_become_ints(value):
    assert type(check_int("n", value, 1, 8)) is int
    assert check_int("n", value, 1, 8) == value


@pytest.mark.parametrize("value", [0, 9, -3, 2.5, True, "4", None, [4], math.nan, math.inf, 1j])
def test_other_values_are_refused_by_name(value):
    with pytest.raises(ValueError, match=r"`n` must be an int from 1 to 8\. Received: n="):
        check_int("n", value, 1, 8)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "0.5", None, True, 1j, [0.5], 1])
def test_numbers_outside_the_range_are_refused(value):
    with pytest.raises(ValueError, match=r"`rate` must be a number in \[0, 1\)\. Received: rate="):
        check_number("rate", value, 0, 1, below=True)


def test_the_ends_of_a_range_are_open_or_closed_as_asked():
    assert check_number("x", np.float32(0), 0) == 0.0
    with pytest.raises(ValueError, match="a finite number above 0"):
        check_number("x", 0, 0, above=True)
    assert check_number("x", 1, 0, 1) == 1.0


def test_none_is_allowed_only_where_optional():
    assert check_int("n", None, optional=True) is None
    assert check_number("x", None, optional=True) is None
    with pytest.raises(ValueError, match="of at least 1 or None"):
        check_int("n", 0, 1, optional=True)


def test_a_misspelled_choice_gets_the_nearest():
    assert check_choice("pooling", None, ["mean", None]) is None
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        check_choice("pooling", "Mean", ["mean", "token"])


def test_a_huge_value_is_shown_in_short():
    with pytest.raises(ValueError) as error:
        check_int("n", "x" * 10_000)
    assert len(str(error.value)) < 300
