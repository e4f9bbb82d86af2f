"""Images with masks for segmentation: what can be told about them, and reading them.

Imports nothing heavy.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from mae_keras.arguments import (
    LARGEST_DEPTH,
    LARGEST_SEED,
    UNLABELED,
    check_choice,
    check_int,
    check_number,
)
from mae_keras.runs.options import same_place

if TYPE_CHECKING:
    from mae_keras.data import SegmentationData


HEADS = ("linear", "pyramid", "unetr")


@dataclasses.dataclass(frozen=True)
class SegmentOptions:
    """The numbers of one training of a segmenter.

    Args:
        unlabeled: value of pixels without a label in masks.
        gap: the images are slices of one stack: train, validation and test are blocks of it, with
            so many slices left out between them.
        head: what gives pixels their class: linear, one layer on the last block; pyramid, maps of
            several scales, for most images; unetr, skips up to full resolution, for structures
            smaller than a patch.
        steps: updates of the weights, from 10 on rounded up to a multiple of 10.
        batch_size: crops per step.
        learning_rate: AdamW's highest rate; by default 0.001, and 0.01 where the head alone is
            trained.
        weight_decay: AdamW's.
        train_blocks: number of last blocks to train; 0 trains only the head; by default everything.
        from_scratch: start from fresh weights in place of the pretrained ones, as a baseline.
        seed: of the splits, first weights of the head, crops and their changes; by default the
            pretrained run's.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> SegmentOptions(head="unetr").steps
    600
    """

    unlabeled: int | None = None
    gap: int | None = None
    head: Literal["linear", "pyramid", "unetr"] = "pyramid"
    steps: int = 600
    batch_size: int = 16
    learning_rate: float | None = None
    weight_decay: float = 0.01
    train_blocks: int | None = None
    from_scratch: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        check_int("unlabeled", self.unlabeled, optional=True)
        check_int("gap", self.gap, 0, optional=True)
        check_choice("head", self.head, HEADS)
        check_int("steps", self.steps, 1, LARGEST_SEED)
        check_int("batch_size", self.batch_size, 1, LARGEST_SEED)
        check_number("learning_rate", self.learning_rate, 0, above=True, optional=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_int("train_blocks", self.train_blocks, 0, LARGEST_DEPTH, optional=True)
        check_int("seed", self.seed, 0, LARGEST_SEED, optional=True)


def load_masks(
    masks: str | os.PathLike[str],
    dataset: str | os.PathLike[str] | None,
    model: Any,
    recipe: Any,
    announce: Callable[[str], Any] = lambda text: None,
    **settings: Any,
) -> "SegmentationData":
    """Images with masks, read as a model takes them.

    Args:
        masks: folder or file of masks, or a folder or `.npz` file with images and masks inside.
        dataset: folder or file of the images, where the masks come without; or `None`.
        model: with an encoder.
        recipe: `Recipe` of its run. Its own images are divided as in pretraining, by its seed,
            groups and fractions, unless `gap` makes blocks of them.
        announce: called with every note about the images.
        **settings: passed to `data.load_segmentation`, such as `unlabeled` and `gap`.

    Returns:
        `data.SegmentationData`, with images to train on and to test on.

    Raises:
        ValueError: if images and masks do not fit each other or the model.
    """
    from mae_keras import data
    from mae_keras.data.segmentation_files import holds_pairs

    path, encoder = pathlib.Path(masks).expanduser(), model.encoder
    if not path.exists():
        raise ValueError(f"`masks` must be a folder or file. Received: {str(path)!r}, not found")
    image_shape = tuple(encoder.image_shape)
    rank, channels = len(image_shape), image_shape[-1]
    if rank not in (3, 4) or encoder.preprocessing:
        raise ValueError(
            "`masks` is for models of images or of arrays of volumes. Received: a model of samples "
            f"of shape {image_shape}"
        )
    own = path.suffix.lower() == ".npz" or holds_pairs(path)
    if not own and (dataset is None or not pathlib.Path(dataset).expanduser().exists()):
        given = None if dataset is None else os.fspath(dataset)
        raise ValueError(
            "`dataset` must name the folder or file with the images of the masks, or `masks` a "
            f"folder with images/ and masks/ inside. Received: dataset={given!r}, masks="
            f"{str(path)!r}"
        )
    images, partner = (path, None) if own else (pathlib.Path(dataset).expanduser(), path)
    settings = {"split_seed": recipe.seed, **settings}
    as_pretrained = partner is not None and same_place(dataset, recipe.dataset)
    if as_pretrained and settings.get("gap") is None:
        settings |= {"groups": recipe.groups, "splits": recipe.splits}
    if as_pretrained and (settings.get("gap") is not None or settings["split_seed"] != recipe.seed):
        announce(
            "Divided otherwise than in pretraining: the encoder may have been pretrained on test "
            "images, without their masks."
        )
    masked = data.load_segmentation(
        images,
        partner,
        channels=channels if channels in (1, 3) else None,
        value_range=encoder.normalization.value_range,
        **settings,
    )
    for note in masked.notes:
        announce(note)
    shape = masked.train.images[0].shape
    if (len(shape), shape[-1]) != (rank, channels):
        raise ValueError(
            f"`masks` must belong to images with {rank - 1} spatial axes and {channels} channels, "
            f"as the model takes. Received: images of shape {shape}"
        )
    wanted, own_range = encoder.normalization.value_range, masked.value_range
    if None not in (wanted, own_range) and tuple(own_range) != tuple(wanted):
        raise ValueError(
            "`masks` must belong to images with values in the range that the model was trained on, "
            f"{tuple(wanted)}: save them so. Received: values in {tuple(own_range)}"
        )
    if not len(masked.test) and not len(masked.validation):
        raise ValueError(
            f"`masks` must leave images to test on. Received: {len(masked.train)} images, all of "
            "them to train on"
        )
    for part, split in (("training", masked.train), ("test", test_split(masked))):
        if not any((mask != UNLABELED).any() for mask in split.masks):
            raise ValueError(
                f"`masks` must have labeled pixels in {part} images. Received: {len(split)} masks "
                "of unlabeled pixels alone"
            )
    return masked


def test_split(masked: "SegmentationData", limit: int | None = None) -> Any:
    """The test images, or the validation images where there are none; at most so many.

    Args:
        masked: `data.SegmentationData`.
        limit: int, or `None` for all.

    Returns:
        `data.SegmentationSplit`.
    """
    split = masked.test if len(masked.test) else masked.validation
    return split if limit is None or len(split) <= limit else split.select(range(limit))


def augmentation_of(recipe: Any, image_shape: tuple[int, ...]) -> Any:
    """Random changes of labeled images and masks that suit what an encoder was pretrained on.

    Images are mirrored as in pretraining; those that were cut out at their own scale, such as
    slices under a microscope, are also turned by quarters. Nothing is changed where the recipe
    says `augment=False`.

    Args:
        recipe: `Recipe` of pretraining.
        image_shape: of the model.

    Returns:
        `data.SegmentationAugmentation`, or `None`.

    Example:
    >>> from mae_keras.runs import find_recipe
    >>> augmentation_of(find_recipe("digits"), (8, 8, 1)) is None
    True
    """
    from mae_keras import data

    if len(image_shape) != 3 or not recipe.augment:
        return None
    if recipe.resize == "none":
        return data.SegmentationAugmentation(quarter_turns=image_shape[0] == image_shape[1])
    try:
        own = data.default_augmentation(recipe.dataset)
    except ValueError:  # made by hand, under a name that says nothing
        return None
    return data.SegmentationAugmentation(flip_axes=("width",)) if own and own.flip else None


def scores_of(report: Any) -> dict[str, Any]:
    """The numbers of a report that are compared, for JSON.

    Args:
        report: `evaluation.SegmentationReport`.

    Returns:
        Dict.
    """
    names = ("accuracy", "mean_iou", "mean_dice", "mean_boundary_f1", "mean_hausdorff95", "roc_auc")
    return {
        **{name: getattr(report, name) for name in names},
        "intervals": {name: ends and list(ends) for name, ends in report.intervals.items()},
    }
