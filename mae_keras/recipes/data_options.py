"""Which labelled images a trained model is used on. Light until they are loaded."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any

from mae_keras.arguments import check_array, check_int


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """A data set other than the one that a run was trained on, or another way to divide it.

    Args:
        dataset: digits, mnist, fashion_mnist, cifar10, tfds:NAME, an .npz or .npy file, a folder of
            images whose sub-folders are classes; by default the run's own.
        train: folder or array file of the training images, in place of `dataset`.
        validation: folder or array file of the validation images.
        test: folder or array file of the test images.
        splits: fractions of train, validation and test, such as 0.8 0.1 0.1; 0 leaves one empty. By
            default 0.7 0.15 0.15, and 0.9 0.05 0.05 from 10,000 images on.
        groups: what no two splits may share: parent (images of one folder), a regular expression
            for the path below the folder, or the name of an array in an .npz file.

    Raises:
        ValueError: if `splits` are no fractions that add up to 1.

    Example:
    >>> DataOptions(dataset="labelled/", splits=(0.8, 0.2, 0.0)).given
    True
    """

    dataset: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    splits: tuple[float, float, float] | None = None
    groups: str | None = None

    def __post_init__(self) -> None:
        if self.splits is None:
            return
        splits = tuple(check_array("splits", self.splits, 1).tolist())
        object.__setattr__(self, "splits", splits)  # JSON has lists
        shares = len(splits) == 3 and all(0 <= share <= 1 for share in splits)
        if not shares or abs(sum(splits) - 1) > 1e-6:
            raise ValueError(
                f"`splits` must be three fractions that add up to 1. Received: splits={splits}"
            )
        if self.dataset is not None and self.train is not None:
            raise ValueError(
                f"`dataset` and `train` exclude each other. Received: dataset={self.dataset!r}, "
                f"train={self.train!r}"
            )

    @property
    def given(self) -> bool:
        """Whether images are named here."""
        return self.dataset is not None or self.train is not None

    @property
    def name(self) -> str | None:
        """What the images are called in messages and tables."""
        return self.dataset if self.train is None else self.train

    def as_dict(self) -> dict[str, Any]:
        """What is not at its default."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


def same_place(first: Any, second: Any) -> bool:
    """Whether two names are of one data set, however a path is written.

    Args:
        first: name or path, as `data.load` takes.
        second: the same.

    Example:
    >>> same_place("photos/", "./photos"), same_place("mnist", "digits")
    (True, False)
    """
    return os.path.realpath(os.path.expanduser(str(first))) == os.path.realpath(
        os.path.expanduser(str(second))
    )


def load_labelled(
    options: DataOptions,
    recipe: Any,
    image_shape: tuple[int, ...],
    *,
    data_dir: str | None = None,
    seed: int | None = None,
    value_range: Any = None,
    announce: Callable[[str], Any] = lambda text: None,
) -> Any:
    """Load the images that `options` name, in the size that a model takes.

    Image files are also converted to the model's gray or color and to its range of pixels.

    Args:
        options: `DataOptions`.
        recipe: `Recipe` of the run, for what `options` leave open.
        image_shape: what the model takes.
        data_dir: folder of TensorFlow Datasets.
        seed: int, chooses the division; defaults to the recipe's.
        value_range: `(low, high)` of the model's pixels, or `None` for any.
        announce: called with every note about the images, also if they are refused then.

    Returns:
        `data.ImageData`.

    Raises:
        ValueError: if they cannot be read, or do not fit the model.
    """
    from mae_keras import data

    known = inspect.signature(data.load).parameters
    own = not options.given
    settings: dict[str, Any] = {"data_dir": data_dir, "strict": recipe.strict}
    settings["seed"] = recipe.seed if seed is None else check_int("seed", seed, 0)
    for name in ("groups", "split_by", "resize", "kind"):  # as the run had it, for its own images
        if (own or name == "resize") and name in known and hasattr(recipe, name):
            settings[name] = getattr(recipe, name)
    if own and "splits" in known:
        settings["splits"] = getattr(recipe, "splits", None)
    given = options.as_dict()
    given.pop("dataset", None)
    settings |= given
    if own:
        settings["image_size"] = recipe.image_size
    elif len(image_shape) == 3:
        settings["image_size"] = tuple(image_shape[:2])
    name = None if options.train is not None else options.dataset or recipe.dataset
    settings |= file_settings(options.train if name is None else name, image_shape, value_range)
    images = data.load(name, **settings) if name is not None else data.load(**settings)
    for note in images.notes:
        announce(note)
    check_images(images, image_shape, value_range)
    return images


def file_settings(name: Any, image_shape: tuple[int, ...], value_range: Any) -> dict[str, Any]:
    """Arguments of `data.load` by which image files are read as a model takes them.

    Args:
        name: data set or path.
        image_shape: what the model takes.
        value_range: `(low, high)` of the model's pixels, or `None` for any.

    Returns:
        Dict, empty where there is nothing to convert: not a folder, or no model of pictures.

    Example:
    >>> file_settings("digits", (8, 8, 3), (0, 255))
    {}
    """
    from mae_keras import data

    if len(image_shape) != 3 or image_shape[-1] not in (1, 3) or data.kind(name) != "folder":
        return {}
    return {"channels": image_shape[-1], "value_range": value_range}


def check_images(images: Any, image_shape: tuple[int, ...], value_range: Any = None) -> None:
    """Refuse images that a model does not take, and say what to do about it.

    Args:
        images: `data.ImageData`.
        image_shape: what the model takes.
        value_range: `(low, high)` of the model's pixels, or `None` for any.

    Raises:
        ValueError: if shape or range differ.
    """
    here, wanted = tuple(images.image_shape), tuple(image_shape)
    if here != wanted:
        advice = "Convert them, or pretrain on images like these."
        if here[:-1] == wanted[:-1] and {here[-1], wanted[-1]} == {1, 3}:
            kinds = {1: "grey", 3: "color"}
            advice = (
                f"The model was trained on {kinds[wanted[-1]]} images and these are "
                f"{kinds[here[-1]]}: convert these, or pretrain on {kinds[here[-1]]} ones."
            )
        elif len(here) == len(wanted) and here[-1] == wanted[-1]:
            advice = "Resize them to that size, or pretrain on images of this one."
        raise ValueError(
            f"`dataset` must hold images of the shape that the model was trained on, {wanted}. "
            f"{advice} Received: {images.name!r} with images of shape {here}"
        )
    if value_range is not None and tuple(images.value_range) != tuple(value_range):
        raise ValueError(
            f"`dataset` must hold pixels in the range that the model was trained on, "
            f"{tuple(value_range)}: save them so. Received: {images.name!r} with pixels in "
            f"{tuple(images.value_range)}"
        )
