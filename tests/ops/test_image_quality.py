"""PSNR and SSIM are those of scikit-image and TensorFlow; small images have an SSIM too."""

import keras
import numpy as np
import pytest

from mae_keras.ops import psnr, ssim

pytestmark = pytest.mark.every_backend
SHAPES = [(3, 28, 28, 1), (2, 17, 32, 3), (2, 11, 11, 2)]


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def noisy_pair(shape, dtype="uint8", seed=0):
    """Smooth references and noisy copies, the noise another in every image."""
    rng = np.random.default_rng(seed)
    references = np.cumsum(rng.normal(0, 12, shape), axis=1) + 120
    strength = np.linspace(1, 40, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    images = references + rng.normal(size=shape) * strength
    return tuple(np.clip(values, 0, 255).astype(dtype) for values in (images, references))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_is_that_of_scikit_image(shape, dtype):
    metrics = pytest.importorskip("skimage.metrics")
    images, references = noisy_pair(shape, dtype)
    expected = [
        metrics.peak_signal_noise_ratio(r, i, data_range=255)
        for i, r in zip(images, references, strict=True)
    ]
    np.testing.assert_allclose(array(psnr(images, references)), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_that_of_scikit_image(shape, dtype):
    metrics = pytest.importorskip("skimage.metrics")
    images, references = noisy_pair(shape, dtype)
    expected = [
        metrics.structural_similarity(
            i.astype("float64"),
            r.astype("float64"),
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for i, r in zip(images, references, strict=True)
    ]
    # float32 variances as differences of means: 1e-7 over a constant of 9e-4
    np.testing.assert_allclose(array(ssim(images, references)), expected, atol=1e-4)


def test_volumes_have_the_ssim_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    image, reference = noisy_pair((1, 12, 13, 14, 2), "float32")
    expected = metrics.structural_similarity(
        image[0].astype("float64"),
        reference[0].astype("float64"),
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert array(ssim(image, reference))[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("side", "window"), [(8, 7), (7, 7), (3, 3), (28, 11)])
def test_both_are_those_of_tensorflow_also_where_the_window_shrinks(side, window):
    tf = pytest.importorskip("tensorflow")
    images, references = noisy_pair((4, side, side, 3), "float32")
    expected = tf.image.ssim(images, references, 255, filter_size=window)
    np.testing.assert_allclose(array(ssim(images, references)), expected.numpy(), atol=1e-4)
    expected = tf.image.psnr(images, references, 255).numpy()
    np.testing.assert_allclose(array(psnr(images, references)), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 2, 2, 1), (3, 5, 40, 2), (3, 9, 1)])
def test_no_image_is_too_small_for_an_ssim(shape):
    similarity = array(ssim(*noisy_pair(shape, "float32")))
    assert similarity.shape == (3,)
    assert np.isfinite(similarity).all() and (similarity <= 1).all()


def test_equal_images_have_infinite_psnr_and_ssim_1():
    images = noisy_pair((3, 28, 28, 1))[0]
    np.testing.assert_array_equal(array(psnr(images, images)), [np.inf] * 3)
    np.testing.assert_array_equal(array(ssim(images, images)), [1.0] * 3)


def test_the_scale_of_the_pixels_does_not_matter():
    images, references = noisy_pair((3, 16, 16, 1), "float32")
    for measure in (psnr, ssim):
        in_units = array(measure(images / 255, references / 255, max_value=1.0))
        np.testing.assert_allclose(in_units, array(measure(images, references)), atol=1e-4)


def test_only_counted_pixels_are_compared():
    images, references = noisy_pair((2, 8, 8, 3))
    counted = np.random.default_rng(0).random((2, 8, 8, 1)) < 0.3
    errors = (images.astype("float64") - references) ** 2
    where = np.broadcast_to(counted, images.shape)
    expected = [10 * np.log10(255**2 / errors[n][where[n]].mean()) for n in range(2)]
    np.testing.assert_allclose(array(psnr(images, references, 255, counted)), expected, rtol=1e-5)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_other_shapes_are_refused(measure):
    with pytest.raises(ValueError, match=r"`images` and `references` must have one shape"):
        measure(np.zeros((2, 8, 8, 1)), np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"\(batch, \*spatial, channels\). Received"):
        measure(np.zeros((8, 8)), np.zeros((8, 8)))


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("wrong", [0, -255.0, float("nan")])
def test_a_span_that_is_none_is_refused(measure, wrong):
    with pytest.raises(ValueError, match="`max_value` must be.*Received"):
        measure(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 1)), max_value=wrong)


def test_windows_that_are_none_are_refused():
    images = np.zeros((1, 8, 8, 1))
    for wrong in (4, 0, 2.5):
        with pytest.raises(ValueError, match="`filter_size` must be an.* int"):
            ssim(images, images, filter_size=wrong)
    with pytest.raises(ValueError, match="`sigma` must be"):
        ssim(images, images, sigma=0)
