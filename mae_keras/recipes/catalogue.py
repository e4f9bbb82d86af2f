"""Finding a recipe, and changing some of its numbers. Light: imports nothing heavy."""

import dataclasses
import difflib
from typing import Any

from mae_keras.recipes import cifar10, digits, fashion_mnist, images, mnist
from mae_keras.recipes.base import Recipe

RECIPES: dict[str, Recipe] = {
    "digits": digits.RECIPE,
    "mnist": mnist.RECIPE,
    "fashion_mnist": fashion_mnist.RECIPE,
    "cifar10": cifar10.RECIPE,
    "images": images.RECIPE,
}


def find_recipe(name: str | None = None, dataset: str | None = None) -> Recipe:
    """The recipe of a name, or the one that suits a data set.

    Args:
        name: key of `RECIPES`, or `None`.
        dataset: name of a data set, used when `name` is `None`; without either: digits.

    Returns:
        `Recipe`.

    Raises:
        ValueError: if there is no recipe of that name.

    Example:
    >>> find_recipe(dataset="tfds:mnist").preset
    'micro'
    """
    if name is None:
        key = (dataset or "digits").removeprefix("tfds:").split(":")[0].split("/")[0]
        return RECIPES.get(key, RECIPES["images"])
    if name not in RECIPES:
        close = difflib.get_close_matches(str(name), RECIPES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`recipe` must be one of {', '.join(RECIPES)}.{hint} Received: recipe={name!r}"
        )
    return RECIPES[name]


def adapt(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe with some fields changed; `None` leaves a field as it is.

    A warmup that the changed number of epochs leaves no room for is shortened with it, unless it
    was given too.

    Args:
        recipe: `Recipe`.
        **changes: fields of `Recipe`.

    Returns:
        `Recipe`.

    Raises:
        ValueError: if a value is out of range.

    Example:
    >>> adapt(RECIPES["digits"], epochs=2).warmup_epochs
    0
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"`recipe` must be a Recipe. Received: {type(recipe).__name__}")
    given = {name: value for name, value in changes.items() if value is not None}
    if "epochs" in given and "warmup_epochs" not in given:
        share = recipe.warmup_epochs / recipe.epochs
        given["warmup_epochs"] = min(recipe.warmup_epochs, int(share * given["epochs"]))
    return dataclasses.replace(recipe, **given)
