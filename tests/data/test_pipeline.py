"""The order of the batches, and their shapes."""

import numpy as np
import pytest
import tensorflow as tf

from mae_keras.data.augmentation import Augmentation
from mae_keras.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from mae_keras.data.splits import ArraySplit, SelectedSplit, Split, StreamSplit


def numbers(batches, count=None):
    """Return the numbers written into the images of a numbered split, one list per batch."""
    batches = batches if count is None else batches.take(count)
    return [batch.numpy()[:, 0, 0, 0].astype(int).tolist() for batch in batches]


@pytest.fixture
def numbered_stream():
    def make(count):
        return StreamSplit(
            lambda: tf.data.Dataset.range(count).map(lambda number: (number, number * 2)),
            lambda number: tf.fill((4, 4, 1), tf.cast(number, tf.float32)),
            (4, 4, 1),
            count,
            has_labels=True,
            dtype="float32",
        )

    return make


@pytest.fixture(params=["indexed", "streamed"])
def make_split(request, numbered_split, numbered_stream):
    return numbered_split if request.param == "indexed" else numbered_stream


@pytest.mark.slow
def test_an_epoch_without_remainder_visits_every_image_once(make_split):
    visited = sum(numbers(training_batches(make_split(12), 4, seed=0, epochs=1)), [])
    assert sorted(visited) == list(range(12)) != visited


def test_an_epoch_with_remainder_visits_no_image_twice(make_split):
    visited = numbers(training_batches(make_split(11), 4, seed=0, epochs=20))
    assert len(visited) == 40
    epochs = [visited[step] + visited[step + 1] for step in range(0, 40, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert set(sum(epochs, [])) == set(range(11))


def test_the_remainder_is_kept_when_wanted(make_split):
    batches = numbers(training_batches(make_split(11), 4, seed=0, epochs=2, drop_remainder=False))
    assert [len(batch) for batch in batches] == [4, 4, 3, 4, 4, 3]
    assert sorted(sum(batches[3:], [])) == list(range(11))


@pytest.mark.slow
def test_the_order_depends_on_the_seed_and_the_epoch(make_split):
    split = make_split(32)
    first = numbers(training_batches(split, 8, seed=1, epochs=2))
    assert first == numbers(training_batches(split, 8, seed=1, epochs=2))
    assert first[:4] != first[4:]
    assert first != numbers(training_batches(split, 8, seed=2, epochs=2))


def test_the_order_ignores_the_global_seed(make_split):
    split = make_split(32)
    tf.random.set_seed(1)
    first = numbers(training_batches(split, 8, seed=1, epochs=1))
    tf.random.set_seed(2)
    assert first == numbers(training_batches(split, 8, seed=1, epochs=1))


def test_building_batches_leaves_the_global_seed_alone(numbered_stream):
    tf.random.set_seed(7)
    expected = tf.random.uniform((3,)).numpy()
    tf.random.set_seed(7)
    next(iter(training_batches(numbered_stream(8), 4, seed=0)))
    np.testing.assert_array_equal(tf.random.uniform((3,)), expected)


@pytest.mark.slow
def test_starting_later_gives_the_batches_of_an_unbroken_run(make_split):
    split = make_split(22)
    options = {"seed": 3, "epochs": 5, "augmentation": Augmentation(crop_scale=None, flip=True)}
    unbroken = [batch.numpy() for batch in training_batches(split, 4, **options)]
    resumed = [batch.numpy() for batch in training_batches(split, 4, start_epoch=3, **options)]
    np.testing.assert_array_equal(resumed, unbroken[15:])


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 1, 7, 14])
def test_starting_within_an_epoch_gives_the_batches_of_an_unbroken_run(make_split, start):
    split = make_split(22)
    options = {"seed": 3, "epochs": 3, "augmentation": Augmentation(crop_scale=None, flip=True)}
    unbroken = [batch.numpy() for batch in training_batches(split, 4, **options)]
    epoch, step = divmod(start, 5)
    rest = training_batches(split, 4, start_epoch=epoch, start_step=step, **options)
    np.testing.assert_array_equal([batch.numpy() for batch in rest], unbroken[start:])


def test_what_comes_before_the_start_is_not_decoded(numbered_stream):
    decoded = []

    def decode(number):
        tf.py_function(lambda x: decoded.append(int(x)), [number], [])
        return tf.zeros((4, 4, 1), tf.uint8)

    split = numbered_stream(8)
    split._decode = decode
    list(training_batches(split, 2, seed=0, epochs=1, start_step=3))
    assert len(decoded) == 2


@pytest.mark.slow
def test_an_epoch_ends_at_a_multiple_of_the_steps_done_at_once(make_split):
    split = make_split(22)
    assert steps_per_epoch(split, 4, multiple_of=2) == 4
    whole = numbers(training_batches(split, 4, seed=3, epochs=2))
    cut = numbers(training_batches(split, 4, seed=3, epochs=2, multiple_of=2))
    assert cut == whole[:4] + whole[5:9]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start_step": 5}, "start_step must be less than the 5 steps"),
        ({"multiple_of": 6}, "must not be larger than the 5 steps"),
    ],
)
def test_more_steps_than_an_epoch_has_are_refused(numbered_split, wrong, message):
    with pytest.raises(ValueError, match=message):
        training_batches(numbered_split(10), 2, seed=0, **wrong)


@pytest.mark.slow
def test_resumed_augmentation_is_the_same_to_the_bit(random_images):
    split = ArraySplit(random_images(24))
    options = {"seed": 3, "epochs": 3, "augmentation": Augmentation(flip=True)}
    unbroken = [batch.numpy() for batch in training_batches(split, 8, **options)]
    resumed = [batch.numpy() for batch in training_batches(split, 8, start_epoch=2, **options)]
    np.testing.assert_array_equal(resumed, unbroken[6:])


@pytest.mark.slow
def test_an_image_is_augmented_anew_in_every_epoch(random_images):
    split = ArraySplit(random_images(1, (16, 16, 1)))
    first, second = training_batches(split, 1, seed=0, epochs=2, augmentation=Augmentation())
    assert (first.numpy() != second.numpy()).any()


def test_the_stream_does_not_end_without_epochs(make_split):
    assert len(numbers(training_batches(make_split(8), 4, seed=0), count=100)) == 100


def test_the_number_of_batches_is_known(numbered_split):
    assert len(training_batches(numbered_split(10), 4, seed=0, epochs=5, start_epoch=2)) == 6


@pytest.mark.slow
def test_training_shapes_are_static(make_split):
    for augmentation in (None, Augmentation(flip=True)):
        batches = training_batches(
            make_split(10), 4, seed=0, augmentation=augmentation, with_labels=True
        )
        images, labels = batches.element_spec
        assert images.shape == (4, 4, 4, 1) and labels.shape == (4,)


def test_labels_stay_with_their_images(make_split, numbered_split):
    split = make_split(12)
    factor = 2 if split.stream else 1
    for images, labels in training_batches(split, 4, seed=0, epochs=2, with_labels=True):
        np.testing.assert_array_equal(images[:, 0, 0, 0] * factor, labels)


def test_evaluation_drops_nothing_and_keeps_the_order(make_split):
    assert numbers(evaluation_batches(make_split(10), 4)) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_evaluation_gives_labels_when_asked(numbered_split):
    batches = evaluation_batches(numbered_split(5), 4, with_labels=True)
    assert [labels.numpy().tolist() for _, labels in batches] == [[0, 1, 2, 3], [4]]


@pytest.mark.slow
def test_folders_feed_the_pipeline(image_folder):
    from mae_keras.data import load

    folder = image_folder({f"{index}.png": (9, 9, 3) for index in range(12)})
    split = load(folder).train
    batches = training_batches(split, 4, seed=0, augmentation=Augmentation(flip=True))
    assert next(iter(batches)).shape == (4, 9, 9, 3)


def test_steps_count_whole_batches_or_all(numbered_split):
    assert steps_per_epoch(numbered_split(10), 4) == 2
    assert steps_per_epoch(numbered_split(10), 4, drop_remainder=False) == 3


def test_a_batch_larger_than_the_split_is_refused(numbered_split):
    with pytest.raises(ValueError, match="Received: batch_size=16 for 10 images"):
        training_batches(numbered_split(10), 16, seed=0)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True, "4"])
def test_a_batch_size_that_counts_nothing_is_refused(numbered_split, batch_size):
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1. Received"):
        evaluation_batches(numbered_split(10), batch_size)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 0, "start_epoch": -1}])
def test_negative_numbers_are_refused(numbered_split, wrong):
    with pytest.raises(ValueError, match="must be an integer of at least 0. Received: .*=-1"):
        training_batches(numbered_split(10), 2, **wrong)


def test_ending_before_the_start_is_refused(numbered_split):
    with pytest.raises(ValueError, match="epochs must be an integer of at least 4. Received: epo"):
        training_batches(numbered_split(10), 2, seed=0, start_epoch=3, epochs=3)


def test_labels_of_a_split_without_labels_are_refused(random_images):
    with pytest.raises(ValueError, match="with_labels=True expects a split with labels"):
        training_batches(ArraySplit(random_images(4)), 2, seed=0, with_labels=True)


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", [None, Augmentation(flip=True)])
def test_the_slices_of_processes_join_to_the_batches_of_one(make_split, augmentation):
    def batches(shard):
        made = training_batches(
            make_split(26),
            8,
            seed=5,
            epochs=2,
            start_step=1,
            augmentation=augmentation,
            with_labels=True,
            shard=shard,
        )
        assert made.element_spec[0].shape[0] == 8 // shard[1]
        return list(made.as_numpy_iterator())

    whole, slices = batches((0, 1)), [batches((index, 4)) for index in range(4)]
    assert len(whole) == 5
    for number, (images, labels) in enumerate(whole):
        parts = [part[number] for part in slices]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)


def test_a_process_fetches_its_own_slice_only(numbered_split):
    split, fetched = numbered_split(16), []
    fetch = split.fetch

    def recording(indices):
        tf.py_function(lambda rows: fetched.append(len(rows)), [indices], [])
        return fetch(indices)

    split.fetch = recording
    list(training_batches(split, 8, seed=0, epochs=1, shard=(1, 2)))
    assert fetched == [4, 4]


class DrawnSplit(Split):
    """Samples that are nothing but their index and what was drawn for them."""

    num_draws = 1

    def __init__(self):
        super().__init__((2,), 16, "float32")

    def fetch(self, indices, draws=None):
        draws = tf.fill((tf.size(indices), 1), -1.0) if draws is None else draws
        return tf.concat([tf.cast(indices, "float32")[:, None], draws], axis=1), None


def test_where_samples_are_cut_is_drawn_anew_in_each_epoch_and_the_same_on_resuming():
    def batches(**options):
        made = training_batches(SelectedSplit(DrawnSplit(), np.arange(16)), 8, seed=3, **options)
        return np.stack(list(made.as_numpy_iterator()))

    whole = batches(epochs=3)
    np.testing.assert_array_equal(batches(epochs=3, start_epoch=1, start_step=1), whole[3:])
    assert len(np.unique(whole[..., 1])) == whole[..., 1].size
    parts = [batches(epochs=3, shard=(index, 2)) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    (first, *_) = evaluation_batches(DrawnSplit(), 8).as_numpy_iterator()
    assert (first[:, 1] == -1).all()


def test_evaluation_batches_are_cut_and_whole_when_asked(make_split):
    split = make_split(11)
    assert numbers(evaluation_batches(split, 4, drop_remainder=True)) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]
    second = evaluation_batches(split, 4, drop_remainder=True, shard=(1, 2))
    assert numbers(second) == [[2, 3], [6, 7]]


@pytest.mark.parametrize("shard", [(2, 2), (0, 3), (-1, 2), (0, 0)])
def test_slices_that_are_not_equal_are_refused(numbered_split, shard):
    with pytest.raises(ValueError, match="shard"):
        training_batches(numbered_split(16), 8, seed=0, shard=shard)
    with pytest.raises(ValueError, match="drop_remainder"):
        evaluation_batches(numbered_split(16), 8, shard=(0, 2))
