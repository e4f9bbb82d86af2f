"""The record that `load` returns."""

import dataclasses

import pytest

from mae_keras.data import ImageData


def test_a_loaded_data_set_cannot_be_changed_by_accident(numbered_split):
    split = numbered_split(3)
    data = ImageData("numbers", (4, 4, 1), None, None, split, split, split)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "letters"
