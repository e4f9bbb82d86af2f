"""Random changes of signals and spectrograms, beside what NumPy makes of the same definition."""

import numpy as np
import pytest

from mae_keras.data import (
    ArraySplit,
    ClassificationAugmentation,
    SignalAugmentation,
    SoundAugmentation,
    labeled_batches,
    training_batches,
)

RAMP = np.tile(np.arange(16, dtype="float32")[:, None], (64, 1, 1))
PADDED = np.where(np.arange(16)[:, None] < 10, RAMP, np.nan).astype("float32")
rng = np.random.default_rng(0)
SIGNALS = rng.normal(size=(64, 16, 2)).astype("float32") * [3, 1] + [5, -2]
SIGNALS = SIGNALS.astype("float32")
SOUND = rng.normal(size=(64, 20, 8, 1)).astype("float32")


def changed(augmentation, samples, seed=(0, 1), **options):
    return augmentation.apply(samples, seed, **options).numpy()


ALL = SignalAugmentation(crop=(0.5, 1.0), reverse=True, scale=0.1, jitter=0.1)
SPECTRA = SoundAugmentation(max_shift=0.3, time_mask=0.3, frequency_mask=0.5)
EACH = pytest.mark.parametrize(("augmentation", "samples"), [(ALL, SIGNALS), (SPECTRA, SOUND)])


@pytest.mark.parametrize(
    ("augmentation", "samples"),
    [
        (SignalAugmentation(), SIGNALS),
        (SignalAugmentation(crop=(1, 1)), PADDED),
        (SoundAugmentation(), SOUND),
        (SoundAugmentation.preset("none"), SOUND),
    ],
)
def test_without_changes_samples_stay_as_they_are(augmentation, samples):
    np.testing.assert_array_equal(changed(augmentation, samples), samples)


@EACH
def test_changes_are_a_function_of_seed_and_place(augmentation, samples):
    once = changed(augmentation, samples)
    np.testing.assert_array_equal(once, changed(augmentation, samples))
    assert not np.array_equal(once, changed(augmentation, samples, (0, 2)), equal_nan=True)
    part = changed(augmentation, samples[16:32], part=(16, 64))
    np.testing.assert_array_equal(part, once[16:32])


@pytest.mark.parametrize("samples", [RAMP, PADDED])
def test_a_crop_is_a_stretch_of_the_signal_at_even_steps(samples):
    known = int((~np.isnan(samples[0])).sum())
    cropped = changed(SignalAugmentation(crop=(0.5, 0.8)), samples)[:, :, 0]
    assert np.isnan(cropped[:, known:]).all()
    cropped = cropped[:, :known]
    steps = np.diff(cropped, axis=1)
    assert np.ptp(steps, axis=1).max() < 1e-4
    spans = cropped[:, -1] - cropped[:, 0]
    assert 0.5 - 1e-5 <= spans.min() / (known - 1) < 0.55
    assert 0.75 < spans.max() / (known - 1) <= 0.8 + 1e-5
    assert cropped.min() >= 0 and cropped.max() <= known - 1
    assert cropped[:, 0].max() > 1  # crops begin anywhere


def test_what_a_gap_touches_is_missing_after_a_crop():
    samples = RAMP.copy()
    samples[:, 7] = np.nan
    cropped = changed(SignalAugmentation(crop=(0.5, 0.5)), samples)[:, :, 0]
    known = cropped[~np.isnan(cropped)]
    assert not ((known > 6) & (known < 8)).any()
    assert np.isnan(cropped).any(axis=1).mean() > 0.5


def test_half_of_the_signals_run_backward_before_their_padding():
    turned = changed(SignalAugmentation(reverse=True), PADDED)[:, :, 0]
    backward = turned[:, 0] == 9
    assert 0.3 < backward.mean() < 0.7
    np.testing.assert_array_equal(turned[~backward], PADDED[~backward, :, 0])
    np.testing.assert_array_equal(turned[backward, :10], PADDED[backward, 9::-1, 0])
    assert np.isnan(turned[:, 10:]).all()


def test_scale_stretches_each_channel_around_its_mean():
    scaled = changed(SignalAugmentation(scale=0.2), SIGNALS)
    np.testing.assert_allclose(scaled.mean(axis=1), SIGNALS.mean(axis=1), atol=1e-4)
    factors = scaled.std(axis=1) / SIGNALS.std(axis=1)
    assert np.log(factors).std() == pytest.approx(0.2, abs=0.03)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.3  # channels have factors of their own


def test_jitter_is_in_standard_deviations_of_each_channel():
    noise = changed(SignalAugmentation(jitter=0.1), SIGNALS) - SIGNALS
    np.testing.assert_allclose(
        noise.std(axis=(0, 1)), 0.1 * SIGNALS.std(axis=1).mean(axis=0), rtol=0.1
    )


@pytest.mark.parametrize("padded", [False, True])
def test_a_shift_moves_a_recording_and_leaves_half_of_it(padded):
    samples = SOUND.copy()
    if padded:
        samples[:, 6:] = np.nan
    known = 6 if padded else 20
    moved = changed(SoundAugmentation(max_shift=0.5), samples)
    steps = set()
    for before, after in zip(samples, moved, strict=True):
        seen = np.flatnonzero(~np.isnan(after[:, 0, 0]))
        assert len(seen) >= known // 2
        step = next(
            step
            for step in range(-known // 2, known // 2 + 1)
            if np.array_equal(after[seen], before[np.clip(seen - step, 0, 19)])
        )
        steps.add(step)
    assert min(steps) < 0 < max(steps)


def test_bands_of_time_and_frequency_get_the_mean():
    masked = changed(SoundAugmentation(time_mask=0.5, frequency_mask=0.5), SOUND)
    for before, after in zip(SOUND, masked, strict=True):
        rows = (after != before).all(axis=(1, 2))
        columns = (after != before).all(axis=(0, 2))
        inside = rows[:, None] | columns[None]
        np.testing.assert_array_equal((after != before)[..., 0], inside)
        np.testing.assert_allclose(after[inside], before.mean(), atol=1e-5)
        for covered, most in ((rows, 10), (columns, 4)):
            places = np.flatnonzero(covered)
            assert len(places) <= most
            assert len(places) == 0 or np.ptp(places) == len(places) - 1
    assert (masked != SOUND).any(axis=(1, 2, 3)).mean() > 0.8


def test_missing_frames_stay_missing_under_a_band():
    samples = SOUND.copy()
    samples[:, 12:] = np.nan
    masked = changed(SoundAugmentation(time_mask=1.0, frequency_mask=1.0), samples)
    np.testing.assert_array_equal(np.isnan(masked), np.isnan(samples))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SignalAugmentation(crop=(0, 1)), "crop must be a pair"),
        (lambda: SignalAugmentation(jitter=-1), "`jitter` must be"),
        (lambda: SoundAugmentation(max_shift=0.6), "`max_shift` must be"),
        (lambda: SoundAugmentation.preset("strong"), "one of none, light, paper"),
        (lambda: ALL.apply(SOUND, (0, 1)), r"floats of shape \(batch, length, channels\)"),
        (lambda: ALL.apply(SIGNALS.astype("int32"), (0, 1)), "dtype int32"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("augmentation", "samples"), [(ALL, PADDED), (SPECTRA, SOUND)], ids=["signals", "sound"]
)
def test_batches_are_the_same_wherever_training_begins(augmentation, samples):
    split = ArraySplit(samples)
    options = {"seed": 3, "epochs": 2, "augmentation": augmentation}
    whole = [np.array(batch) for batch in training_batches(split, 16, **options)]
    later = training_batches(split, 16, start_epoch=1, start_step=2, **options)
    for before, after in zip(whole[6:], later, strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(whole[0], whole[4], equal_nan=True)


def test_a_classifier_of_signals_and_of_sound_trains_on_changed_samples():
    labels = np.arange(64) % 3
    for samples, kind in ((SIGNALS, "signals"), (SOUND, "sound")):
        augmentation = ClassificationAugmentation.preset("light", kind)
        split = ArraySplit(samples, labels)
        options = {"seed": 0, "epochs": 1, "value_range": None}
        plain, _ = next(iter(labeled_batches(split, 16, 3, **options)))
        light, _ = next(iter(labeled_batches(split, 16, 3, augmentation=augmentation, **options)))
        assert plain.shape == light.shape
        assert not np.array_equal(plain, light)


def test_changes_of_images_and_of_signals_do_not_mix():
    with pytest.raises(ValueError, match="`samples` must be None where images"):
        ClassificationAugmentation(flip=True, samples=ALL)
    split = ArraySplit(SOUND, np.arange(64) % 3)
    with pytest.raises(ValueError, match="SignalAugmentation expects samples of 2 axes"):
        labeled_batches(split, 16, 3, seed=0, augmentation=ClassificationAugmentation(samples=ALL))
    with pytest.raises(ValueError, match="one of none, light for signals"):
        ClassificationAugmentation.preset("paper", "signals")
