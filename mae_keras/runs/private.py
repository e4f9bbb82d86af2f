"""Private runs, `pretrain --epsilon`: settings that fit, the secret seed, what is not written.

The seed draws batches and noise. It lies in the run's folder while training can go on, so that a
resumed run takes the same steps and spends nothing twice, and is removed at the end.
"""

import json
import os
import secrets
from typing import Any

from mae_keras import data
from mae_keras.files import replacing
from mae_keras.models.privacy import Privacy
from mae_keras.runs.folder import RunFolder
from mae_keras.runs.recipe import Recipe

# Of pixels in [0, 1]; measured constants would be those of the private images.
MEAN, STD = 0.5, 0.25
_SEED_BITS = 62


def check_private_images(recipe: Recipe, images: data.ImageData) -> None:
    """Refuse data whose samples are not drawn alike, or that set the model's constants.

    Args:
        recipe: `Recipe` with `epsilon`.
        images: `data.ImageData`.

    Raises:
        ValueError: if the samples are no images in memory or in files, or their range of values is
            not known.
    """
    kind = images.kind or ("images" if len(images.image_shape) == 3 else "signals or volumes")
    if kind != "images" or images.is_sound or len(images.image_shape) != 3:
        raise ValueError(
            "`epsilon` is for images: how signals, sound, video and volumes are read is measured "
            f"on the data themselves. Received: epsilon={recipe.epsilon} with {kind}"
        )
    if images.value_range is None:
        raise ValueError(
            "`epsilon` needs images whose range of values is known, such as uint8: normalization "
            "must not be measured on private data. Received: images of unknown range"
        )


def constants(images: data.ImageData) -> tuple[list[float], list[float]]:
    """Mean and standard deviation for normalization, the same whatever the images.

    Args:
        images: `data.ImageData`, for the number of channels.

    Returns:
        Two lists of floats, in [0, 1] units.
    """
    channels = images.image_shape[-1]
    return [MEAN] * channels, [STD] * channels


def privacy_of(recipe: Recipe, num_samples: int, steps: int, seed: int) -> Privacy:
    """The settings of private training by a recipe.

    Args:
        recipe: `Recipe` with `epsilon`.
        num_samples: int, training images.
        steps: int, steps of an epoch.
        seed: int, secret.

    Returns:
        `Privacy`, whose noise keeps all steps of the run within `epsilon`.

    Raises:
        ImportError: if `dp-accounting` is missing.
        ValueError: if the budget cannot be kept.
    """
    return Privacy(
        None,
        recipe.max_grad_norm,
        delta=recipe.delta,
        num_samples=num_samples,
        batch_size=recipe.batch_size,
        target_epsilon=recipe.epsilon,
        steps=recipe.epochs * steps,
        seed=seed,
        report_loss=recipe.report_private,
    )


def announcement(privacy: Privacy) -> str:
    """A line on the noise that was found, printed before training."""
    return (
        f"Private training: epsilon {privacy.target_epsilon:g} and delta {privacy.delta:g} for "
        f"{privacy.steps:,} steps of about {privacy.batch_size} images need noise of "
        f"{privacy.noise_multiplier:.3g} times the clipping norm {privacy.max_grad_norm:g}"
    )


def without_hashes(about: dict[str, Any]) -> dict[str, Any]:
    """A fingerprint of data without hashes, which would tell who has an image that it is in.

    Args:
        about: as `building.fingerprint` gives it.

    Returns:
        Dict.

    Example:
    >>> without_hashes({"train": 10, "first_images": "0f", "content": {"train": "1e"}})
    {'train': 10, 'first_images': None, 'content': {}}
    """
    return {**about, "first_images": None, "content": {}}


def new_seed() -> int:
    """A seed out of the operating system's generator.

    Example:
    >>> new_seed() != new_seed()
    True
    """
    return secrets.randbits(_SEED_BITS)


def write_seed(run: RunFolder, seed: int) -> None:
    """Keep the seed in the run's folder, for its owner's eyes.

    Args:
        run: `RunFolder`, claimed.
        seed: int.
    """
    with replacing(run.privacy_seed) as aside:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"seed": seed}, file)


def read_seed(run: RunFolder) -> int:
    """The seed that a run was begun with.

    Args:
        run: `RunFolder`.

    Returns:
        int.

    Raises:
        ValueError: if it is missing: other noise for steps already taken would spend the budget
            twice.
    """
    if not run.privacy_seed.exists():
        raise ValueError(
            f"A private run needs its seed to go on: with another, steps already taken would spend "
            f"the budget twice. Received: no {str(run.privacy_seed)!r}, which a finished run has "
            f"removed. Begin again with --overwrite"
        )
    return int(run.read_json(run.privacy_seed)["seed"])


def remove_seed(run: RunFolder) -> None:
    """Remove the seed of a finished run: who has it can compute the noise.

    Args:
        run: `RunFolder`.
    """
    run.privacy_seed.unlink(missing_ok=True)
