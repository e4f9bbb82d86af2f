"""How to install the libraries that only some users need. Imports nothing of the package."""

import importlib.metadata
import json
import pathlib
import re
import urllib.parse
import urllib.request


def install_command(extra: str) -> str:
    """A command that installs an extra of this package where it runs.

    The package is not published: from a clone, or installed out of one, the command names the
    clone. Elsewhere it names the libraries of the extra themselves.

    Args:
        extra: name of the extra, such as `"datasets"`.

    Returns:
        str.

    Example:
    >>> install_command("onnx").startswith("pip install ")
    True
    """
    clone = _clone()
    if clone is not None:
        where = "." if clone == pathlib.Path.cwd() else str(clone)
        return f"pip install '{where}[{extra}]'"
    try:
        requirements = importlib.metadata.requires("mae_keras") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    wanted = [text.split(";")[0].strip() for text in requirements if _belongs(text, extra)]
    return f"pip install {' '.join(repr(name) for name in wanted) or f'mae_keras[{extra}]'}"


def _belongs(requirement: str, extra: str) -> bool:
    return re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", requirement) is not None


def _clone() -> pathlib.Path | None:
    """The folder with the package's pyproject.toml, if it is still there."""
    folder = pathlib.Path(__file__).resolve().parents[1]
    if _is_clone(folder):
        return folder
    try:
        text = importlib.metadata.distribution("mae_keras").read_text("direct_url.json")
        url = urllib.parse.urlparse(json.loads(text or "{}").get("url", ""))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    folder = pathlib.Path(urllib.request.url2pathname(url.path))
    return folder if url.scheme == "file" and _is_clone(folder) else None


def _is_clone(folder: pathlib.Path) -> bool:
    try:
        return 'name = "mae_keras"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return False
