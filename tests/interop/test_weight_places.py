import keras
import numpy as np
import pytest
from interop.torch_files import meta_shapes

from mae_keras.interop.torch_mapping import encoder_of, places_of
from mae_keras.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder


def encoder(**options):
    return ViTEncoder((8, 8, 3), 2, 16, 2, 2, 24, **options)


def tables(shapes):
    return {name for name in shapes if name.endswith("pos_embed")}


@pytest.mark.parametrize("class_token", [True, False])
def test_every_tensor_of_facebookresearch_has_a_place_of_its_shape(class_token):
    model = MaskedAutoencoder(encoder(use_class_token=class_token), MAEDecoder(8, 1, 2, 20))
    shapes = meta_shapes(class_token=class_token)
    places = places_of(model)
    assert {name: place.shape for name, place in places.items()} == {
        name: shape for name, shape in shapes.items() if name not in tables(shapes)
    }
    variables = {id(place.variable) for place in places.values()}
    assert variables == {id(variable) for variable in model.trainable_variables}


@pytest.mark.parametrize("pooling, norm", [("mean", "fc_norm.weight"), ("token", "norm.weight")])
def test_a_classifier_has_one_norm_that_it_needs(pooling, norm):
    places = places_of(ImageClassifier(encoder(), 3, pooling=pooling))
    names = ("norm.weight", "fc_norm.weight")
    assert [name for name in names if name in places and places[name].needed] == [norm]


@pytest.mark.parametrize(
    "image_shape, patch", [((8, 12, 3), (2, 4)), ((8, 2), (4,)), ((4, 4, 8, 1), (2, 2, 4))]
)
def test_patches_are_projected_as_by_a_strided_convolution(image_shape, patch):
    encoder = ViTEncoder(image_shape, patch, 8, 1, 2)
    place = places_of(encoder)["patch_embed.proj.weight"]
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, image_shape[-1], *patch)).astype("float32")
    place.variable.assign(place.to_ours(kernel))
    images = rng.normal(size=(2, *image_shape)).astype("float32")
    # Keras's kernels are (*patch, channels, out)
    expected = keras.ops.conv(
        images, np.moveaxis(kernel, (0, 1), (-1, -2)), strides=patch, padding="valid"
    )
    ours = encoder.patch_projection(encoder.patch_extraction(images))
    expected = keras.ops.convert_to_numpy(expected).reshape(2, -1, 8)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_layouts_undo_each_other():
    for place in places_of(MaskedAutoencoder(encoder(), MAEDecoder(8, 1, 2, 20))).values():
        array = np.random.default_rng(0).normal(size=place.shape)
        np.testing.assert_array_equal(place.to_torch(place.to_ours(array)), array)


def test_the_encoder_of_an_encoder_is_itself():
    alone = encoder()
    assert encoder_of(alone) is alone


def test_another_kind_of_model_is_refused():
    with pytest.raises(TypeError, match="Sequential"):
        places_of(keras.Sequential())
