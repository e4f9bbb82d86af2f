"""Folders of video files, and arrays of video."""

import fractions
import pathlib
import sys

import numpy as np
import pytest

from mae_keras.data import (
    ArraySplit,
    FrameSampling,
    FrameSplit,
    VideoSplit,
    default_augmentation,
    kind,
    load,
    read_video,
    video_files,
)
from mae_keras.data import training_batches as batches_of
from mae_keras.data.video_files import inspect_video_file, to_pixels

av = pytest.importorskip("av")
STEP = 8  # gray levels from one frame to the next: which frame a picture is of can be read off it


def write(path, frames, rate=10, codec="mpeg4", pixels="yuv420p", delay=0):
    """A file of uint8 frames `(time, height, width, 3)`, the first shown after `delay` frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "5"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = pixels, 2_000_000
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if delay:
                frame.pts, frame.time_base = delay + number, 1 / fractions.Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def ramp(count, first=16, size=(32, 48), channels=3):
    """Frames that get brighter by `STEP`, all of one level."""
    levels = first + STEP * np.arange(count)
    return np.broadcast_to(levels[:, None, None, None], (count, *size, channels)).astype("uint8")


def level(frames):
    """Number of each frame of a `ramp`, read off its gray; -1 of a missing one."""
    means = frames.astype("float64").mean(axis=(-3, -2, -1))
    return np.where(np.isnan(means), -1, np.round((np.nan_to_num(means) - 16) / STEP)).astype(int)


@pytest.fixture
def clips(tmp_path):
    """A maker of folders: {"a/0.mp4": frames, (frames, rate), bytes, ...} to files."""

    def make(files, folder=tmp_path / "clips"):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
                continue
            frames, rate = content if isinstance(content, tuple) else (content, 10)
            write(path, frames, rate)
        return folder

    return make


def ramps(count, frames=12, suffix="mp4"):
    # One gray level apart, so that no two are copies of each other.
    return {f"{n:02}.{suffix}": ramp(frames, first=14 + n % 5) for n in range(count)}


def splits(data):
    return data.train, data.validation, data.test


def paths_of(data):
    return [pathlib.Path(path).name for split in splits(data) for path in split.paths]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx", "yuv420p"),
        ("a.gif", "gif", "gray"),
    ],
)
def test_frames_of_every_format_are_those_that_were_written(tmp_path, name, codec, pixels):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    written = ramp(20)
    write(tmp_path / name, written, codec=codec, pixels=pixels)
    sampling = FrameSampling(20, frame_rate=10.0)
    frames = read_video(tmp_path / name, (20, 32, 48, 1), sampling)
    assert frames.dtype == "uint8"
    np.testing.assert_allclose(frames[..., 0], written[..., 0], atol=4)
    middle = read_video(tmp_path / name, (4, 32, 48, 3), {"frames": 4, "frame_step": 3})
    assert level(middle).tolist() == [5, 8, 11, 14]


def test_a_folder_of_clips_becomes_clips_of_one_length(clips):
    folder = clips(ramps(5, frames=20) | {"deep/er/05.avi": ramp(20), "notes.txt": b"x"})
    assert kind(folder) == "video"
    data = load(folder, frames=4, frame_step=2)
    assert sorted(paths_of(data)) == [f"0{n}.mp4" for n in range(5)] + ["05.avi"]
    assert data.image_shape == (4, 32, 48, 1) and data.value_range == (0, 255)
    assert data.is_video and not data.is_sound
    assert data.preprocessing["video"] == {"frames": 4, "frame_step": 2, "frame_rate": 10.0}
    assert data.notes[0] == "ignored 1 file that is not a clip."
    assert "2 s: clips of 4 frames, every 2nd at 10 per second, 0.7 s, 6 longer" in data.notes[1]
    for split in splits(data):
        for clip, path in zip(split.arrays()[0], split.paths, strict=True):
            assert level(clip).tolist() == [6, 8, 10, 12]
            read = read_video(path, data.image_shape, data.preprocessing["video"])
            np.testing.assert_array_equal(read, clip)


def test_training_begins_anywhere_and_what_is_streamed_is_what_is_held(clips):
    """The same clips, with labels, in the same order, to the bit."""
    folder = clips({f"{n % 2}_{n}.mp4": ramp(30, first=14 + n % 5) for n in range(10)})
    settings = {"labels_from": r"^(\d)_", "frames": 4, "frame_step": 1}
    held, streamed = load(folder, **settings), load(folder, **settings, in_memory_limit=0)
    for one, two in zip(splits(held), splits(streamed), strict=True):
        assert one.labels.tolist() == [int(pathlib.Path(path).name[0]) for path in one.paths]
        np.testing.assert_array_equal(one.arrays()[0], two.arrays()[0])
    first, other = (
        np.stack([np.asarray(batch) for batch in batches_of(data.train, 3, seed=1, epochs=6)])
        for data in (held, streamed)
    )
    np.testing.assert_array_equal(first, other)
    numbers = level(first).reshape(-1, 4)
    assert (np.diff(numbers) == 1).all() and len({*numbers[:, 0]}) > 6
    resumed = list(batches_of(held.train, 3, seed=1, start_epoch=2, epochs=6).as_numpy_iterator())
    np.testing.assert_array_equal(np.stack(resumed), first[-len(resumed) :])


def test_videos_that_are_too_short_end_in_missing_frames(clips):
    files = {f"{n}.mp4": ramp(count, first=14 + n) for n, count in enumerate([3, 6, 8, 20])}
    data = load(clips(files), frames=8, frame_step=1)
    levels = {
        pathlib.Path(path).stem: level(clip).tolist()
        for split in splits(data)
        for path, clip in zip(split.paths, split.arrays()[0], strict=True)
    }
    assert levels["0"] == [0, 1, 2] + 5 * [-1] and levels["1"] == [*range(6), -1, -1]
    assert levels["2"] == [*range(8)] and levels["3"] == [*range(6, 14)]
    assert "1 longer (training takes any part of them) and 2 padded" in data.notes[0]
    assert data.train.dtype == "float32"


def test_the_default_clip_fits_half_of_the_videos(clips):
    folder = clips(ramps(4, frames=29))
    assert load(folder).preprocessing["video"]["frame_step"] == 1
    assert load(folder).image_shape[0] == 16
    shorter = load(clips(ramps(4, frames=11), folder / "../short"))
    assert shorter.image_shape[0] == 10 and "change with frames, frame_step" in shorter.notes[0]
    assert load(folder, frames=4).preprocessing["video"]["frame_step"] == 4


def test_other_frame_rates_are_resampled_and_said(clips):
    """Twice the frames a second: every second one is taken."""
    fast = {f"1{n}.mp4": (ramp(29, first=14 + n), 20) for n in range(2)}
    data = load(clips(ramps(4, frames=14) | fast), frames=14)
    assert "resampled to 10 frames per second, of 6 clips: 2 of 20." in data.notes
    for split in splits(data):
        for path, clip in zip(split.paths, split.arrays()[0], strict=True):
            step = 2 if pathlib.Path(path).name[0] == "1" else 1
            assert level(clip).tolist() == list(range(0, 14 * step, step))
    data = load(clips({}), frame_rate=5.0, frames=7)
    assert data.preprocessing["video"]["frame_rate"] == 5.0
    assert (np.diff(level(data.train.arrays()[0])) >= 2).all()


@pytest.mark.parametrize(
    "rate",
    [fractions.Fraction(24000, 1001), fractions.Fraction(1, 300)],
    ids=["film", "time lapse"],
)
def test_the_common_frame_rate_is_not_rounded(clips, rate):
    files = {f"{n}.mp4": (ramp(4, first=14 + n), rate) for n in range(3)}
    data = load(clips(files), frames=4)
    assert data.preprocessing["video"]["frame_rate"] == float(rate)
    assert level(data.train.arrays()[0]).tolist() == [[0, 1, 2, 3]] * len(data.train)


def test_color_size_and_proportions_are_as_wanted(clips):
    frames = np.zeros((4, 32, 64, 3), "uint8")
    frames[:, :, :32, 0] = 200  # red on the left
    folder = clips({f"{n}.mp4": frames + n for n in range(3)})
    wide = {"frames": 4, "frame_step": 1, "image_size": 16}
    assert load(folder, frames=4).image_shape == (4, 32, 64, 3)
    cropped = load(folder, **wide).train.arrays()[0][0, 0]
    assert cropped.shape == (16, 16, 3)
    np.testing.assert_allclose(cropped[8, [2, 13], 0], [200, 0], atol=12)
    padded = load(folder, **wide, resize="pad")
    assert padded.train.arrays()[0][0, 0, :3].max() == 0
    np.testing.assert_allclose(padded.train.arrays()[0][0, 0, 8, [2, 13], 0], [200, 0], atol=12)
    assert "resized and padded with black to 16 x 16 pixels" in " ".join(padded.notes)
    gray = load(folder, **wide, channels=1)
    assert "3 of 3 clips are color: made gray." in gray.notes
    scaled = load(folder, **wide, value_range=(0, 1)).train.arrays()[0]
    assert scaled.dtype == "float32" and 0.7 < scaled.max() <= 1
    files = {f"{n}.mp4": ramp(4, first=n, size=(96, 128)) for n in range(3)}
    large = load(clips(files, folder / "../large"))
    assert large.image_shape[1:3] == (64, 64)


def test_turned_frames_stand_upright():
    """As a telephone writes them: stored on their side, with the angle beside."""

    class Turned:
        width, height, rotation = 8, 4, -90  # a quarter clockwise

        def to_ndarray(self, format, width, height, interpolation):
            assert (width, height) == (8, 4)
            return np.arange(32, dtype="uint8").reshape(4, 8)

    upright = to_pixels(Turned(), (8, 4, 1), "crop")
    np.testing.assert_array_equal(upright[..., 0], np.arange(32).reshape(4, 8)[::-1].T)


def test_frames_as_large_as_in_the_file_are_not_kept(monkeypatch):
    class Frame:
        alive = 0

        def __init__(self):
            Frame.alive += 1

        def __del__(self):
            Frame.alive -= 1

    alive = []
    monkeypatch.setattr(video_files, "_frames_at", lambda *_: (Frame() for _ in range(50)))
    monkeypatch.setattr(
        video_files, "to_pixels", lambda *_: alive.append(Frame.alive) or np.zeros((2, 2, 1))
    )
    video_files.decode_frames(None, range(50), (2, 2, 1), "crop")
    assert len(alive) == 50 and max(alive) <= 3


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_time_stamps_may_begin_late(tmp_path, suffix):
    path = str(tmp_path / f"late.{suffix}")
    codec = "libvpx" if suffix == "webm" else "mpeg4"
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    write(pathlib.Path(path), ramp(20), codec=codec, delay=50)
    file = inspect_video_file(path)
    assert file.defect is None and file.seconds == pytest.approx(2)
    assert level(read_video(path, (20, 32, 48, 1))).tolist() == [*range(20)]
    if suffix == "mkv":
        whole = pathlib.Path(path).read_bytes()
        pathlib.Path(path).write_bytes(whole[: len(whole) // 2])
        assert "truncated" in inspect_video_file(path).defect


def test_broken_files_are_named_and_skipped(clips, tmp_path):
    folder = clips(ramps(4) | {"whole.avi": ramp(40), "still.mp4": ramp(1)})
    whole = (folder / "whole.avi").read_bytes()
    write(tmp_path / "whole.gif", ramp(20), codec="gif", pixels="gray")
    gif = (tmp_path / "whole.gif").read_bytes()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{folder}/00.mp4\n"
    broken = {"a.mp4": b"", "b.mkv": b"nothing", "c.gif": gif[: len(gif) // 2]}
    broken |= {"d.avi": whole[: len(whole) // 2], "e.mp4": playlist.encode()}
    data = load(clips(broken))
    assert sorted(paths_of(data)) == [*sorted(ramps(4)), "whole.avi"]
    (note,) = [note for note in data.notes if "skipped" in note]
    assert note.startswith(
        "skipped 6 unreadable files: a.mp4 (empty file), b.mkv (not a video file"
    )
    assert "c.gif (truncated: the GIF trailer is missing)" in note and "e.mp4 (not a video" in note
    assert "(a single frame)" in inspect_video_file(str(folder / "still.mp4")).defect.join("()")
    with pytest.raises(ValueError, match="strict=True every video file must be readable"):
        load(folder, strict=True)
    with pytest.raises(ValueError, match="holds no readable clip"):
        load(clips({"a.mp4": b""}, folder / "../broken"))


def test_files_that_vanish_are_replaced_and_reported_once(clips, caplog):
    folder = clips(ramps(6))
    sampling = FrameSampling(4, frame_rate=10.0)
    split = VideoSplit([str(folder / name) for name in ramps(6)], (32, 48, 1), sampling)
    (folder / "01.mp4").unlink()
    (folder / "04.mp4").write_bytes(b"nothing")
    frames = split.arrays()[0]
    np.testing.assert_array_equal(frames[1], frames[2])
    np.testing.assert_array_equal(frames[4], frames[5])
    assert split.num_unreadable == 2
    assert len([line for line in caplog.messages if "can no longer be read" in line]) == 2


def test_what_is_held_in_place_of_a_damaged_file_has_its_own_label_and_length(clips):
    folder = clips({"0.mp4": ramp(12), "1.mp4": ramp(5, first=15), "2.mp4": ramp(12, first=14)})
    paths = [str(folder / f"{n}.mp4") for n in range(3)]
    split = VideoSplit(paths, (32, 48, 1), FrameSampling(8, frame_rate=10.0), [3, 1, 2])
    (folder / "0.mp4").write_bytes(b"nothing")
    streamed, labels = split.arrays()
    assert labels.tolist() == [1, 1, 2]
    split.hold()
    held, labels = split.arrays()
    assert labels.tolist() == split.labels.tolist() == [1, 1, 2]
    np.testing.assert_array_equal(held, streamed)
    assert level(held[0]).tolist() == [*range(5), -1, -1, -1]


def test_labels_groups_copies_and_splits_come_as_of_other_files(clips):
    names = [f"{label}/{who}_{n}.mp4" for label in "ab" for who in "uvwx" for n in range(2)]
    files = {name: ramp(4, first=4 * n) for n, name in enumerate(names)}
    data = load(clips(files), groups=r"/(\w)_")
    assert data.class_names == ("a", "b")
    people = [{pathlib.Path(path).name[0] for path in split.paths} for split in splits(data)]
    assert sum(map(len, people)) == 4 and len(set.union(*people)) == 4
    copies = {f"{copy}{n}.mp4": ramp(4, first=4 * n) for copy in "abc" for n in range(5)}
    data = load(clips(copies, pathlib.Path(data.name) / "../copies"))
    assert sum(len({path[-5:] for path in split.paths}) for split in splits(data)) == 5
    official = {f"train/{n}.mp4": ramp(4, first=n) for n in range(0, 20, 4)}
    official |= {f"test/{n}.mp4": ramp(4, first=n) for n in (30, 40)}
    data = load(clips(official, pathlib.Path(data.name) / "../official"))
    assert all("/test/" in path for path in data.test.paths)


def test_gifs_are_images_unless_clips_lie_beside_them(clips, image_folder):
    folder = image_folder({f"{n}.gif": (8, 8) for n in range(4)})
    assert kind(folder) == "folder"
    for other in ("labels.npy", "read.wav"):
        (folder / other).write_bytes(b"x")
        assert kind(folder) == "folder"
        (folder / other).unlink()
    clips(ramps(4), folder)
    assert kind(folder) == "video"
    image_folder({"cover.png": (8, 8)}, folder)
    assert kind(folder) == "folder" and load(folder, kind="images").image_shape == (8, 8, 1)
    data = load(folder, kind="video", frames=2)
    assert "ignored 1 image file." in data.notes  # and single pictures are no clips
    assert any("skipped 4 unreadable files: 0.gif (a single frame)" in n for n in data.notes)


def test_arrays_of_video_are_clips_by_their_name_or_kind(tmp_path):
    video = np.random.default_rng(0).integers(0, 255, (12, 9, 8, 6, 1), "uint8")
    np.savez(tmp_path / "a.npz", video=video, labels=np.arange(12) % 2)
    data = load(tmp_path / "a.npz")
    assert data.is_video and data.image_shape == (9, 8, 6, 1) and data.num_classes == 2
    assert data.preprocessing["video"]["frames"] == 9
    np.save(tmp_path / "a.npy", video[..., 0])
    same = load(tmp_path / "a.npy", kind="video")
    assert same.image_shape == data.image_shape and same.is_video
    assert not load(tmp_path / "a.npy", kind="volumes").is_video
    with pytest.raises(ValueError, match="may hold volumes or video"):
        np.save(tmp_path / "b.npy", video)
        load(tmp_path / "b.npy")
    with pytest.raises(ValueError, match="video must be channels-last"):
        np.save(tmp_path / "c.npy", np.moveaxis(video, -1, 2))
        load(tmp_path / "c.npy", kind="video")
    cut = load(tmp_path / "a.npz", frames=3, frame_step=2)
    assert cut.image_shape == (3, 8, 6, 1)
    assert cut.preprocessing["video"] == {"frames": 3, "frame_step": 2, "frame_rate": None}
    with pytest.raises(ValueError, match="must fit into the 9 frames .* frames=9, frame_step=2"):
        load(tmp_path / "a.npz", frames=9, frame_step=2)
    clips, labels = cut.test.arrays()
    np.testing.assert_array_equal(clips, data.test.arrays()[0][:, 2:7:2])
    assert labels.tolist() == data.test.arrays()[1].tolist()


def test_clips_of_arrays_begin_anywhere_in_training():
    video = np.arange(2 * 10, dtype="float32").reshape(2, 10, 1, 1, 1)
    split = FrameSplit(ArraySplit(video), FrameSampling(3, frame_step=2))
    batches = batches_of(split, 2, seed=0, epochs=40).as_numpy_iterator()
    starts = np.stack(list(batches))[..., 0, 0, 0] % 10
    assert {*starts[..., 0].ravel()} == {*range(6)}
    assert (np.diff(starts) == 2).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "sound"}, "must hold sound files .* 4 video files"),
        ({"kind": "signals"}, "`kind` must be 'images' but for array files"),
        ({"frames": 0}, "frames"),
        ({"frame_step": 0}, "frame_step"),
        ({"frame_rate": -1}, "frame_rate"),
        ({"sample_rate": 8000}, "`sample_rate` is for folders of sound files"),
        ({"labels_from": "(x)"}, "`labels_from` must match every path"),
    ],
)
def test_settings_that_do_not_fit_are_refused(clips, settings, message):
    with pytest.raises(ValueError, match=message):
        load(clips(ramps(4)), **settings)


def test_video_settings_are_refused_for_other_data(clips):
    with pytest.raises(ValueError, match="`frame_rate` is for folders of video files"):
        load("digits", frame_rate=8)
    with pytest.raises(ValueError, match="`frames` and `frame_step` are for folders of video"):
        load("digits", frames=8)
    with pytest.raises(ValueError, match="`kind` must be 'images' but for a folder of video files"):
        load("digits", kind="video")
    with pytest.raises(ValueError, match="`sampling` must have the 4 frames"):
        read_video("a.mp4", (4, 8, 8, 1), FrameSampling(3))
    with pytest.raises(ValueError, match="`frames` must fit into the 4 frames"):
        FrameSplit(ArraySplit(np.zeros((1, 4, 8, 8, 1))), FrameSampling(3, frame_step=2))
    assert default_augmentation(clips(ramps(1))) is None


def test_a_missing_extra_is_named(clips, monkeypatch):
    folder = clips(ramps(1))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match="PyAV, which is not installed: pip install"):
        load(folder)
