"""The checks of plain arguments: what they accept, what they refuse, and in which words."""

import math

import numpy as np
import pytest

from mae_keras.arguments import (
    check_array,
    check_choice,
    check_epsilon,
    check_int,
    check_ints,
    check_number,
    check_parameters,
    check_tensor,
    renamed_argument,
)


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


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (
            lambda: check_ints("grid", (2, 0), 1),
            ValueError,
            r"`grid` must be .*at least 1.*\(2, 0\)",
        ),
        (lambda: check_ints("grid", 4, 1), ValueError, "`grid` must be a sequence of ints.*grid=4"),
        (lambda: check_ints("grid", "12"), ValueError, "`grid` must be a sequence of ints"),
        (lambda: check_ints("grid", (2, 2), length=3), ValueError, "`grid` must be 3 ints"),
        (lambda: check_ints("grid", ()), ValueError, "`grid` must be a sequence of ints"),
        (lambda: check_array("x", [1 + 2j]), TypeError, "`x` must be .*real.*complex128"),
        (lambda: check_array("x", ["a"]), TypeError, "`x` must be an array of real numbers"),
        (lambda: check_array("x", None), TypeError, "`x` must be .* Received: NoneType"),
        (lambda: check_array("x", [[1], [1, 2]]), ValueError, "`x` must be one array"),
        (lambda: check_array("x", [1.5], kinds="ui"), TypeError, "`x` must be .*integers"),
        (lambda: check_array("x", [1.0], 2), ValueError, r"`x` must have 2 axes.*\(1,\)"),
        (lambda: check_array("x", []), ValueError, "`x` must not be empty"),
        (lambda: check_array("x", [math.inf], finite=True), ValueError, "`x` must be finite"),
        (lambda: check_tensor("x", [1]), TypeError, "`x` must be a tensor or an array.*list"),
        (lambda: check_tensor("x", np.ones(2, complex)), TypeError, "`x` must hold real numbers"),
        (lambda: check_tensor("x", np.ones(2), kinds="b"), TypeError, "`x` must hold booleans"),
        (lambda: check_tensor("x", np.ones(2), 3), ValueError, "`x` must have 3 axes"),
        (lambda: check_epsilon("e", 0), ValueError, r"`e` must be a number in \(0, 1\]"),
    ],
)
def test_arrays_and_sequences_that_do_not_fit_are_refused(check, error, message):
    with pytest.raises(error, match=message):
        check()


def test_arrays_and_sequences_that_fit_are_returned():
    assert check_ints("grid", np.array([2, 3]), 1, 3, length=2) == (2, 3)
    assert check_array("x", [[1, 2]], 2, kinds="ui").tolist() == [[1, 2]]
    assert check_array("x", [], empty=True).shape == (0,)
    check_tensor("x", np.ones((2, 3), "float16"), 2, kinds="f")
    check_parameters(10**9, hidden_dim=1024)


class _PyTorchTensor:
    """What PyTorch's tensors look like to a check: a dtype without a name."""

    shape = (2, 3)

    def __init__(self, dtype):
        self.dtype = type("dtype", (), {"__str__": lambda self: dtype})()


def test_tensors_of_pytorch_are_told_by_their_dtype():
    check_tensor("images", _PyTorchTensor("torch.float32"), 2)
    check_tensor("images", _PyTorchTensor("torch.bfloat16"), 2)
    with pytest.raises(TypeError, match="`images` must hold real numbers"):
        check_tensor("images", _PyTorchTensor("torch.complex64"))


def test_a_renamed_argument_keeps_its_old_name():
    @renamed_argument("old", "new")
    def double(number, new=1):
        return 2 * new

    assert double(0, new=2) == double(0, 2) == 4
    with pytest.warns(DeprecationWarning, match="`old` is deprecated: use `new`"):
        assert double(0, old=3) == 6
    with pytest.raises(TypeError, match="`old` is the earlier name of `new`"):
        double(0, old=1, new=1)
