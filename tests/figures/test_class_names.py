"""Class names: checked, shortened, listed."""

import pytest

from mae_keras.figures.sheet import text_width
from mae_keras.figures.style import listed, read_class_names, shortened


def test_without_names_classes_are_numbered():
    assert read_class_names(None, 2) == ["0", "1"]
    assert read_class_names(("cat", 7), 2) == ["cat", "7"]


def test_names_that_are_too_few_or_too_many_are_refused():
    with pytest.raises(ValueError, match="`class_names` must have one name for each of the 3"):
        read_class_names(["a", "b"], 3)


@pytest.mark.parametrize("width", [0.3, 0.6, 1.2])
def test_a_long_name_is_cut_to_fit_and_says_so(width):
    cut = shortened("Lung opacity, bacterial origin suspected", width, 8)
    assert cut.endswith("…")
    assert text_width(cut, 8) <= width
    assert "Lung opacity".startswith(cut[:2])


def test_a_name_that_fits_is_left_alone():
    assert shortened("cat", 1.0, 8) == "cat"
    assert shortened("", 1.0, 8) == ""


def test_long_lists_end_with_how_many_are_left_out():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(100)], limit=3) == "0, 1, 2 and 97 more"
