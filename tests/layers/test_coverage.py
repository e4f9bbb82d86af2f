"""No exported layer goes unchecked."""

import ast
import pathlib

import keras
import pytest

import mae_keras.layers

FOLDER = pathlib.Path(__file__).parent
EXPORTED = {
    name: value for name, value in vars(mae_keras.layers).items() if not name.startswith("_")
}
LAYERS = sorted(
    name
    for name, value in EXPORTED.items()
    if isinstance(value, type) and issubclass(value, keras.layers.Layer)
)
# The bases of masking layers and of heads say nothing of what they compute.
ABSTRACT = {"PatchMasking", "SegmentationHead"}


def first_arguments_of_check_layer(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    checks = [call for call in calls if getattr(call.func, "id", None) == "check_layer"]
    return {call.args[0].id for call in checks}


def test_layers_are_exported():
    assert len(LAYERS) > 5
    assert ABSTRACT <= set(LAYERS)


@pytest.mark.parametrize("name", sorted(set(LAYERS) - ABSTRACT))
def test_an_exported_layer_keeps_the_contract_in_a_test_here(name):
    checked = [first_arguments_of_check_layer(path) for path in FOLDER.glob("test_*.py")]
    assert any(name in names for names in checked)


def test_every_name_of_all_is_exported():
    assert set(getattr(mae_keras.layers, "__all__", LAYERS)) <= set(EXPORTED)
