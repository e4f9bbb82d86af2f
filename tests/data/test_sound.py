"""Folders of recordings."""

import os
import pathlib
import sys

import numpy as np
import pytest

from mae_keras.data import LogMel, SoundSplit, default_augmentation, kind, load, read_sound
from mae_keras.data import training_batches as batches_of

soundfile = pytest.importorskip("soundfile")
RATE = 8000


def tone(number, seconds=0.2, rate=RATE):
    """A tone of a pitch of its own, a little noisy."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(number).normal(0, 0.01, len(time))
    return 0.5 * np.sin(2 * np.pi * (300 + 20 * number) * time) + noise


@pytest.fixture
def sound_folder(tmp_path):
    """A maker of folders: {"a/0.wav": waveform, (waveform, rate), bytes, ...} to files."""

    def make(files, folder=tmp_path / "sounds"):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
                continue
            waveform, rate = content if isinstance(content, tuple) else (content, RATE)
            soundfile.write(path, waveform, rate)
        return folder

    return make


def tones(count, seconds=0.2, suffix="wav"):
    return {f"{number:02}.{suffix}": tone(number, seconds) for number in range(count)}


def splits(data):
    return data.train, data.validation, data.test


def paths_of(data):
    return [pathlib.Path(path).name for split in splits(data) for path in split.paths]


def test_a_folder_of_recordings_becomes_spectrograms(sound_folder):
    folder = sound_folder(tones(5) | {"deep/er/05.flac": tone(5), "notes.txt": b"x"})
    assert kind(folder) == "sound"
    data = load(folder)
    assert sorted(paths_of(data)) == [f"0{n}.wav" for n in range(5)] + ["05.flac"]
    assert data.image_shape == (16, 64, 1) and data.value_range is None  # 18 frames fit
    assert data.notes == ("ignored 1 file that is not a recording.",)
    log_mel = LogMel(**data.preprocessing["log_mel"])
    for split in splits(data):
        for spectrogram, path in zip(split.arrays()[0], split.paths, strict=True):
            waveform = soundfile.read(path, dtype="float32")[0]
            np.testing.assert_array_equal(spectrogram[..., 0], log_mel(waveform))
            np.testing.assert_array_equal(spectrogram, read_sound(path, log_mel.to_dict()))


def test_what_is_streamed_is_what_is_held(sound_folder):
    """Of unequal lengths, with labels, in the same order, to the bit."""
    files = {f"{n % 2}_{n}.wav": tone(n, 0.1 + 0.02 * (n % 3)) for n in range(12)}
    folder = sound_folder(files)
    settings = {"labels_from": r"^(\d)_", "clip_seconds": 0.2}
    held, streamed = load(folder, **settings), load(folder, **settings, in_memory_limit=0)
    for one, two in zip(splits(held), splits(streamed), strict=True):
        assert one.paths == two.paths
        assert one.labels.tolist() == [int(pathlib.Path(path).name[0]) for path in one.paths]
        np.testing.assert_array_equal(one.arrays()[0], two.arrays()[0])
    first, other = (
        [np.asarray(batch) for batch in batches_of(data.train, 3, seed=1, epochs=2)]
        for data in (held, streamed)
    )
    np.testing.assert_array_equal(first, other)


def test_unequal_recordings_are_cut_and_padded(sound_folder):
    files = {f"{n}.wav": tone(n, seconds) for n, seconds in enumerate([0.05, 0.1, 0.2, 0.5])}
    data = load(sound_folder(files), clip_seconds=0.21)
    missing = {
        pathlib.Path(path).stem: np.isnan(spectrogram[:, 0, 0]).sum()
        for split in splits(data)
        for path, spectrogram in zip(split.paths, split.arrays()[0], strict=True)
    }
    assert missing == {"0": 16 - 3, "1": 16 - 8, "2": 0, "3": 0}
    assert len(data.notes) == 1
    assert "0.05 to 0.5 s" in data.notes[0] and "2 cut" in data.notes[0]
    assert "2 padded" in data.notes[0]


def test_other_rates_are_resampled_and_said(sound_folder):
    """A tone stays a tone of its pitch."""
    high = {f"1{n}.wav": (tone(0, rate=44100), 44100) for n in range(2)}
    data = load(sound_folder(tones(4) | high), clip_seconds=0.2)
    assert "resampled to 8,000 Hz, of 6 recordings: 2 of 44,100 Hz." in data.notes
    log_mel = LogMel(**data.preprocessing["log_mel"])
    for split in splits(data):
        for path, spectrogram in zip(split.paths, split.arrays()[0], strict=True):
            number = int(pathlib.Path(path).stem) % 10 if "1" not in path[-6:-5] else 0
            loudest = log_mel.frequencies[np.nanmean(spectrogram[..., 0], axis=0).argmax()]
            assert abs(loudest - (300 + 20 * number)) < 30
    assert (
        load(sound_folder({}), sample_rate=16000).preprocessing["log_mel"]["sample_rate"] == 16000
    )


def test_a_clip_is_what_the_whole_recording_resampled_begins_with(sound_folder):
    from scipy.signal import resample_poly

    waveform = tone(3, seconds=3.0, rate=44100)
    folder = sound_folder({"long.wav": (waveform, 44100)})
    log_mel = LogMel(RATE, frames=24)
    read, rate = soundfile.read(folder / "long.wav", dtype="float32")
    whole = resample_poly(read, 80, 441).astype("float32")
    assert rate * 80 / 441 == RATE
    spectrogram = read_sound(folder / "long.wav", log_mel)[..., 0]
    np.testing.assert_allclose(spectrogram, log_mel(whole), atol=1e-3)


def test_stereo_is_averaged_and_said(sound_folder):
    stereo = np.stack([tone(9), np.zeros(1600)], axis=1)
    data = load(sound_folder(tones(3) | {"9.wav": stereo}))
    assert data.notes == ("channels averaged to one, of 4 recordings: 1 with 2 channels.",)
    log_mel = LogMel(**data.preprocessing["log_mel"])
    path = next(path for split in splits(data) for path in split.paths if path.endswith("9.wav"))
    mono = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    np.testing.assert_array_equal(read_sound(path, log_mel)[..., 0], log_mel(mono))


def test_broken_files_are_named_and_skipped(sound_folder):
    broken = {"a.wav": b"", "b.wav": b"RIFF nothing", "c.wav": np.zeros(0), "d.wav": tone(1, 0.01)}
    folder = sound_folder(tones(4) | broken)
    data = load(folder)
    assert sorted(paths_of(data)) == sorted(tones(4))
    (note,) = data.notes
    assert note.startswith("skipped 4 unreadable files: a.wav (empty file), b.wav (not a sound")
    assert "c.wav (holds no samples), d.wav (10 ms, shorter than a window of 25 ms)." in note
    with pytest.raises(ValueError, match="strict=True every sound file must be readable"):
        load(folder, strict=True)
    with pytest.raises(ValueError, match="holds no readable recording"):
        load(sound_folder({"a.wav": b""}, folder / "../broken"))


def test_truncated_flac_is_named(sound_folder):
    folder = sound_folder({"whole.flac": tone(0, 1.0)} | tones(4))
    content = (folder / "whole.flac").read_bytes()
    (folder / "half.flac").write_bytes(content[: len(content) // 2])
    assert any("half.flac" in note for note in load(folder).notes)


def test_truncated_wav_is_named(sound_folder):
    folder = sound_folder({"whole.wav": tone(0, 1.0)} | tones(4))
    content = (folder / "whole.wav").read_bytes()
    (folder / "half.wav").write_bytes(content[: len(content) // 2])
    (note,) = [note for note in load(folder).notes if "half.wav" in note]
    assert "whole.wav" not in note and f"of {len(content):,} bytes" in note


def test_labels_groups_and_splits_come_from_the_paths(sound_folder):
    names = [f"{digit}_{who}_{n}.wav" for digit in "37" for who in "abcd" for n in range(2)]
    files = {name: tone(number) for number, name in enumerate(names)}
    data = load(sound_folder(files), labels_from=r"(\d)_", groups=r"_(\w+?)_")
    assert data.class_names == ("3", "7")
    speakers = [{path.split("_")[-2] for path in split.paths} for split in splits(data)]
    assert sum(map(len, speakers)) == 4 and len(set.union(*speakers)) == 4
    folders = {
        f"{part}/{c}/{n}.wav": tone(n)
        for part in ("train", "test")
        for c in "ab"
        for n in range(3 if part == "test" else 8)
    }
    official = load(sound_folder(folders, pathlib.Path(data.name) / "../official"))
    assert official.class_names == ("a", "b") and "used the splits" in official.notes[0]
    assert all("/test/" in path for path in official.test.paths)


def test_copies_stay_in_one_split(sound_folder):
    files = {f"{copy}{n}.wav": tone(n) for copy in "abc" for n in range(6)}
    names = [{path[-5:] for path in split.paths} for split in splits(load(sound_folder(files)))]
    assert sum(map(len, names)) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 32}, "`image_size` is for images"),
        ({"kind": "images"}, "must hold image files .* 4 sound files"),
        ({"kind": "signals"}, "`kind` must be 'images' but for array files"),
        ({"channels": 1}, "`channels` is for folders of image files"),
        ({"clip_seconds": 0.05}, "`clip_seconds` must be at least 0.095, the 8 frames of a patch"),
        ({"clip_seconds": -1}, "clip_seconds"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"log_mel": {"mels": 3}}, "`log_mel` must be a LogMel or a dict of sample_rate, num_mels"),
        ({"sample_rate": 8000, "log_mel": {"sample_rate": 4000}}, "`sample_rate` must be left out"),
        ({"clip_seconds": 1, "log_mel": {"frames": 8}}, "`clip_seconds` must be left out"),
        ({"labels_from": "(x)"}, "`labels_from` must match every path"),
        ({"labels_from": "(wav)"}, "at least two classes .* 'wav' only"),
        ({"labels_from": "("}, "`labels_from` must be a regular expression"),
        ({"labels_from": "(x)?"}, "`labels_from` must match every path"),
        ({"clip_seconds": 1e7}, "`clip_seconds` must be a number in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(sound_folder, settings, message):
    with pytest.raises(ValueError, match=message):
        load(sound_folder(tones(4)), **settings)


def test_sound_settings_are_refused_for_other_data(sound_folder):
    with pytest.raises(ValueError, match="`sample_rate` is for folders of sound files"):
        load("digits", sample_rate=8000)
    with pytest.raises(ValueError, match="`kind` must be 'images' but for a folder of sound files"):
        load("digits", kind="sound")


def test_pictures_beside_recordings_are_taken_unless_sound_is_wanted(sound_folder, image_folder):
    folder = image_folder({f"{n}.png": (8, 8) for n in range(4)})
    sound_folder(tones(4), folder)
    data = load(folder)
    assert data.image_shape == (8, 8, 1)
    assert data.notes == ("ignored 4 sound files (kind 'sound' reads them).",)
    assert load(folder, kind="sound").notes == ("ignored 4 image files.",)


def test_linked_folders_count_as_what_they_hold(sound_folder, image_folder, tmp_path):
    folder = sound_folder(tones(2))
    (folder / "again").symlink_to(folder)
    assert kind(folder) == "sound"
    (folder / "linked").symlink_to(image_folder({"0.png": (8, 8)}))
    assert kind(folder) == "folder"


def test_image_labels_come_from_file_names_too(image_folder):
    data = load(
        image_folder({f"{'ab'[n % 2]}-{n}.png": (8, 8) for n in range(8)}), labels_from="^."
    )
    assert data.class_names == ("a", "b")


def test_no_augmentation_suits_sound(sound_folder):
    assert default_augmentation(sound_folder(tones(1))) is None


def test_files_that_vanish_are_replaced_and_reported_once(sound_folder, caplog):
    folder = sound_folder(tones(6))
    split = SoundSplit([str(folder / name) for name in tones(6)], LogMel(RATE, frames=8))
    os.remove(folder / "01.wav")
    (folder / "04.wav").write_bytes(b"RIFF nothing")
    spectrograms = split.arrays()[0]
    np.testing.assert_array_equal(spectrograms[1], spectrograms[2])
    np.testing.assert_array_equal(spectrograms[4], spectrograms[5])
    assert split.num_unreadable == 2
    assert len([line for line in caplog.messages if "can no longer be read" in line]) == 2


def test_a_missing_extra_is_named(sound_folder, monkeypatch):
    folder = sound_folder(tones(1))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match="soundfile, which is not installed: pip install"):
        load(folder)


@pytest.mark.slow
def test_spoken_digits_are_read_as_their_names_say():
    root = os.environ.get("MAE_KERAS_TEST_DATA")
    if not root:
        pytest.skip("set MAE_KERAS_TEST_DATA to a folder with fsdd/recordings")
    data = load(
        f"{root}/fsdd/recordings", labels_from=r"(\d)_", groups=r"_(\w+?)_", clip_seconds=1.0
    )
    assert data.image_shape == (96, 64, 1) and data.class_names == tuple("0123456789")
    speakers = [{path.split("_")[-2] for path in split.paths} for split in splits(data)]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 6
    assert sum(map(len, splits(data))) == 3000
