"""Help texts of the command line, taken from docstrings and recipes.

Imports nothing heavy.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable

from mae_keras.data.sources import SOURCES
from mae_keras.registry import MASKINGS, TARGETS
from mae_keras.runs.protocols import PROTOCOLS, default_protocols
from mae_keras.runs.recipe import RECIPES


def protocol_words() -> str:
    """Help of `--protocol`: every protocol, those that train a network apart.

    Example:
    >>> protocol_words()[:33]
    'One or more of knn, linear-probe,'
    """
    quick = default_protocols()
    training = [name for name in PROTOCOLS if name not in quick]
    return (
        f"One or more of {', '.join(quick)}; and, training a network each, {', '.join(training)}. "
        f"By default those that train none. Not for classifiers."
    )


def field_help(settings: type) -> dict[str, str]:
    """What a dataclass says about each of its fields under `Args:`, in one line.

    Under `python -OO` there are no docstrings: then they are read from the source file.

    Args:
        settings: dataclass with a docstring.

    Returns:
        Field to text; fields without one are missing.

    Example:
    >>> from mae_keras.runs import Recipe
    >>> field_help(Recipe)["mask_ratio"][:27]
    'fraction of patches to hide'
    """
    text = inspect.getdoc(settings) or ""
    if "Args:" not in text:  # dataclasses write their signature where there is no docstring
        text = _source_docstring(settings)
    text = text.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): ((?:.|\n {8})+)", text, re.M)
    return {name: " ".join(words.split()) for name, words in found}


def _source_docstring(settings: type) -> str:
    import ast

    try:
        tree = ast.parse(inspect.getsource(inspect.getmodule(settings)))
    except (OSError, TypeError, SyntaxError):  # there may be no source: help is shorter then
        return ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == settings.__name__:
            return ast.get_docstring(node) or ""
    return ""


def recipe_values(field: str) -> str:
    """What the recipes have for a field, as the end of its help text.

    Args:
        field: of `Recipe`.

    Returns:
        str; empty where no recipe sets it.

    Example:
    >>> recipe_values("mask_ratio")
    ' [default: 0.75; mnist-sample 0.6, digits 0.5, signals 0.5]'
    """
    if field == "dataset":
        return ""
    values = {name: _shown(getattr(recipe, field)) for name, recipe in RECIPES.items()}
    usual = max(values.values(), key=list(values.values()).count)
    others = [f"{name} {value}" for name, value in values.items() if value != usual]
    listed = "; ".join([usual, ", ".join(others)] if others else [usual])
    return f" [default: {listed}]" if listed else ""


def recipe_words() -> str:
    """Help of `--recipe`.

    Example:
    >>> recipe_words().rpartition("[")[2]
    'choices: mnist-sample, digits, mnist, fashion_mnist, cifar10, images, signals, sound, video,
    volumes]'
    """
    return (
        "Recipe that supplies values for options not given; by default the one that suits the "
        f"data set, and images or signals for data of your own. [choices: {', '.join(RECIPES)}]"
    )


def registered_values(field: str) -> str:
    """What a field that takes a registered name can be, as the end of its help text.

    Args:
        field: of `Recipe`, `DataOptions` or another class of options.

    Returns:
        str; empty for other fields.

    Example:
    >>> registered_values("masking")
    ' [choices: random, block, grid, time, frequency, tube, channel, forecast]'
    """
    registry = {"masking": MASKINGS, "target": TARGETS}.get(field)
    if registry is not None:
        return f" [choices: {', '.join(registry)}]"
    if field == "dataset" and SOURCES.added:
        return f" [registered: {', '.join(source.label for source in SOURCES.added.values())}]"
    return ""


def own_values(settings: type) -> Callable[[str], str]:
    """What the defaults of a dataclass are, as the ends of help texts.

    Args:
        settings: dataclass.

    Returns:
        Function from a field to str; empty where there is no value by default.

    Example:
    >>> from mae_keras.runs.protocols import EvaluationOptions
    >>> own_values(EvaluationOptions)("num_seeds")
    ' [default: 5]'
    """
    shown = {field.name: _shown(field.default) for field in dataclasses.fields(settings)}
    return lambda name: f" [default: {shown[name]}]" if shown[name] else ""


def option_help(words: str, values: Iterable[str], fields: Iterable[str]) -> str:
    """A field's text as an option's help: it begins with a capital, unless with a value.

    Args:
        words: str, which may name other fields in backticks.
        values: what the option takes, such as `"crop"`.
        fields: names of fields that are options.

    Returns:
        str, with options as users type them.

    Example:
    >>> option_help("pads, in place of `image_size`.", ["crop"], ["image_size"])
    'Pads, in place of --image-size.'
    >>> option_help("crop (the middle) or pad.", ["crop"], [])
    'crop (the middle) or pad.'
    """
    known = set(fields)
    words = re.sub(
        r"`(\w+)`",
        lambda found: f"--{found[1].replace('_', '-')}" if found[1] in known else found[0],
        words,
    )
    first = re.match(r"\w*", words)
    names = {*values, *RECIPES} - {"images"}  # which is a word as well
    is_value = first is not None and first[0] in names
    return words if is_value else f"{words[:1].upper()}{words[1:]}"


def _shown(value: object) -> str:
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"


# How the modules behind a command call what its options are called.
_INNER_NAMES = {
    "pretrain": {"name": "dataset"},
    "evaluate": {"name": "dataset"},
    "fine-tune": {"name": "dataset", "base_learning_rate": "learning_rate"},
    "import": {"name": "dataset"},
    "export": {"path": "out", "signatures": "signature"},
}
_POSITIONAL = {"run": "RUN", "images": "IMAGES", "checkpoint": "CHECKPOINT"}


def typed_names(message: str, command: str, options: Iterable[str]) -> str:
    """An error message with the names of options as users type them.

    Args:
        message: that names arguments as Python does.
        command: the command that was given.
        options: Python's names of its options.

    Returns:
        str.

    Example:
    >>> typed_names("`mask_ratio` must be a number. Received: mask_ratio=7", "x", ["mask_ratio"])
    '`--mask-ratio` must be a number. Received: --mask-ratio=7'
    """
    known = {name: f"--{name.replace('_', '-')}" for name in options}
    for inner, option in _INNER_NAMES.get(command, {}).items():
        known[inner] = known.get(option, f"--{option}")
    ticked = {**_POSITIONAL, **known}
    message = re.sub(
        r"`(\w+)`",
        lambda found: f"`{ticked[found[1]]}`" if found[1] in ticked else found[0],
        message,
    )
    message = re.sub(
        r"^(\w+)(?= (?:must|expects|cannot)\b)",
        lambda found: known.get(found[1], found[1]),
        message,
    )
    head, mark, received = message.partition("Received: ")
    received = re.sub(
        r"(?<![\w.-])(\w+)=", lambda found: f"{known.get(found[1], found[1])}=", received
    )
    return head + mark + received


def spread(arguments: list[str], option: str, values: Iterable[str]) -> list[str]:
    """Repeat an option before each of several values that were typed after it.

    Args:
        arguments: of the command line.
        option: such as `"--protocol"`.
        values: those that it takes.

    Returns:
        List of arguments.

    Example:
    >>> spread(["evaluate", "--protocol", "knn", "layers", "run"], "--protocol", ["knn", "layers"])
    ['evaluate', '--protocol', 'knn', '--protocol', 'layers', 'run']
    """
    made: list[str] = []
    values, following = set(values), False
    for number, word in enumerate(arguments):
        given = number > 0 and arguments[number - 1] == option
        if following and not given and word in values:
            made.append(option)
        else:
            following = given or word == option or word.startswith(f"{option}=")
        made.append(word)
    return made
