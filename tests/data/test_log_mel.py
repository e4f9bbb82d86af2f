"""Log-mel spectrograms, compared with librosa's."""

import numpy as np
import pytest

from mae_keras.data import LogMel


@pytest.mark.parametrize("rate", [8000, 44100])
def test_spectrograms_are_those_of_librosa(rate):
    librosa = pytest.importorskip("librosa")
    log_mel = LogMel(rate)
    waveform = np.random.default_rng(0).normal(0, 0.1, rate // 2).astype("float32")
    around = log_mel.fft_length - log_mel.window  # librosa centers a window in its transform
    power = librosa.feature.melspectrogram(
        y=np.pad(waveform, (around // 2, around - around // 2)),
        sr=rate,
        n_fft=log_mel.fft_length,
        win_length=log_mel.window,
        hop_length=log_mel.hop,
        n_mels=64,
        fmin=20,
        htk=True,
        norm=None,
        center=False,
        power=2,
    )
    expected = librosa.power_to_db(power, amin=1e-6, top_db=None).T
    spectrogram = log_mel(waveform)
    assert spectrogram.shape == expected.shape == (log_mel.num_frames(len(waveform)), 64)
    np.testing.assert_allclose(spectrogram, expected, atol=1e-4)  # decibels, of 80
    band_centers = librosa.mel_frequencies(66, fmin=20, fmax=rate / 2, htk=True)[1:-1]
    np.testing.assert_allclose(log_mel.frequencies, band_centers)


def test_the_loudest_band_is_that_of_a_tone():
    log_mel = LogMel(16000)
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    loudest = log_mel.frequencies[log_mel(tone).mean(axis=0).argmax()]
    assert abs(loudest - 1000) < 40


def test_short_waveforms_are_padded_with_nan_and_long_ones_cut():
    log_mel = LogMel(8000, num_mels=8, frames=10)
    waveform = np.random.default_rng(0).normal(size=8000)
    whole = LogMel(8000, num_mels=8)(waveform)
    np.testing.assert_allclose(log_mel(waveform), whole[:10], atol=1e-4)
    short = log_mel(waveform[: 200 + 3 * 80 + 79])
    np.testing.assert_allclose(short[:4], whole[:4], atol=1e-4)
    assert np.isnan(short[4:]).all() and short.shape == (10, 8)


def test_silence_is_the_floor():
    spectrogram = LogMel(8000, num_mels=8, floor_db=-40)(np.zeros(400, "float32"))
    np.testing.assert_allclose(spectrogram, -40, atol=1e-4)


def test_settings_survive_json():
    import json

    log_mel = LogMel(8000, num_mels=40, high_hz=3800.0, frames=96)
    assert LogMel(**json.loads(json.dumps(log_mel.to_dict()))) == log_mel


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((400, 2)), "average the channels of stereo"),
        (np.zeros(400, "int16"), "divide 16-bit samples by 32768"),
        (np.zeros(100), "must hold a window, 200 samples. Received: 100"),
    ],
)
def test_waveforms_that_do_not_fit_are_refused(waveform, message):
    with pytest.raises(ValueError, match=message):
        LogMel(8000)(waveform)


@pytest.mark.parametrize(
    "settings", [{"sample_rate": 0}, {"high_hz": 5000.0}, {"low_hz": 4000.0}, {"hop_ms": 0.01}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LogMel(**{"sample_rate": 8000} | settings)
