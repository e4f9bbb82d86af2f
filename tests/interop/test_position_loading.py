import keras
import numpy as np
import pytest
from interop.torch_files import meta_tensors, sincos_table

from mae_keras.interop.torch_mapping import named_tensors
from mae_keras.interop.torch_positions import plan_positions
from mae_keras.interop.torch_reading import numpy_dtype, stored_tensor
from mae_keras.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from mae_keras.ops import interpolate_positions


def build(kind="sincos", image_shape=(8, 8, 3)):
    encoder = ViTEncoder(image_shape, 2, 16, 2, 2, 24, position_embedding=kind)
    return MaskedAutoencoder(encoder, MAEDecoder(8, 1, 2, 20))


def plan(model, tensors=None, **changed):
    tensors = {**(tensors or meta_tensors()), **changed}
    tensors = {name: stored_tensor(array) for name, array in tensors.items() if array is not None}
    return plan_positions(model, named_tensors(tensors, "a.pth"))


def statuses(found):
    return {entry.name: entry.status for entry in found.entries}


def trained(rows=17, width=16):
    return np.random.default_rng(0).normal(size=(1, rows, width)).astype("float32")


def test_fixed_tables_are_compared_with_the_computed_ones():
    found = plan(build())
    assert statuses(found) == {"pos_embed": "loaded", "decoder_pos_embed": "loaded"}
    assert all("equal to the sin-cos table" in entry.note for entry in found.entries)
    assert found.table is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_fixed_tables_that_went_through_half_precision_are_loaded(dtype):
    tensors = meta_tensors()
    rounded = {
        name: array.astype(numpy_dtype(dtype)).astype("float32")
        for name, array in tensors.items()
        if name.endswith("pos_embed")
    }
    found = plan(build(), tensors, **rounded)
    assert statuses(found) == {"pos_embed": "loaded", "decoder_pos_embed": "loaded"}
    assert all("off)" in entry.note for entry in found.entries)


def test_a_trained_table_has_no_place_in_a_model_with_fixed_positions():
    found = plan(build(), pos_embed=trained())
    assert statuses(found)["pos_embed"] == "unexpected"
    assert "position_embedding='learned'" in found.entries[0].note


def test_a_trained_table_goes_into_learned_positions():
    table = trained()
    found = plan(build("learned"), pos_embed=table)
    np.testing.assert_array_equal(found.table, table[0, 1:])
    np.testing.assert_array_equal(found.class_row, table[0, 0])
    assert "class token" in found.notes[0]


def test_learned_positions_are_interpolated_for_another_grid_and_it_is_said():
    table = trained()
    found = plan(build("learned", (12, 8, 3)), pos_embed=table)
    expected = interpolate_positions(keras.ops.convert_to_tensor(table[0, 1:]), (4, 4), (6, 4))
    np.testing.assert_allclose(found.table, expected, rtol=0, atol=1e-6)
    assert any("interpolated from (4, 4) patches to (6, 4)" in note for note in found.notes)


def test_fixed_positions_are_computed_for_another_grid_and_it_is_said():
    found = plan(build(image_shape=(12, 8, 3)))
    assert statuses(found) == {"pos_embed": "loaded", "decoder_pos_embed": "loaded"}
    assert [note for note in found.notes if "The reference interpolates" in note]


def test_no_table_is_no_trouble_where_positions_are_fixed():
    assert statuses(plan(build(), pos_embed=None)) == {"decoder_pos_embed": "loaded"}
    assert statuses(plan(build("learned"), pos_embed=None))["pos_embed"] == "absent"


@pytest.mark.parametrize("name, width", [("pos_embed", 12), ("decoder_pos_embed", 12)])
def test_another_width_is_a_wrong_shape(name, width):
    found = plan(build(), **{name: sincos_table((4, 4), width)})
    assert statuses(found)[name] == "wrong shape"


def test_a_table_of_no_grid_is_a_wrong_shape_for_learned_positions():
    assert statuses(plan(build("learned"), pos_embed=trained(8)))["pos_embed"] == "wrong shape"


@pytest.mark.parametrize("table", [np.zeros((1, 17, 8), "float32"), trained(17, 8)])
def test_decoder_tables_other_than_sincos_have_no_place(table):
    assert statuses(plan(build(), decoder_pos_embed=table))["decoder_pos_embed"] == "unexpected"


def test_a_decoder_table_is_not_used_without_a_decoder():
    assert statuses(plan(build().encoder))["decoder_pos_embed"] == "unused"
