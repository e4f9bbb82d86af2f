"""What pyproject.toml cannot say: the README as a package page shows it."""

import pathlib
import re

from setuptools import setup

ROOT = pathlib.Path(__file__).parent


def package_page(readme: str, pyproject: str) -> str:
    """Make relative links absolute, as they lead nowhere from a package page.

    They lead to the `Repository` of `[project.urls]`. Without one the text stays and pictures go.
    """
    address = re.search(r'^Repository = "(https://[^"]+?)(?:\.git|/)?"', pyproject, re.M)
    link, picture = r"\[([^\]]*)\]\((?!https?:|#)([^)]+)\)", r'(<img src=")(?!https?:)([^"]+)'
    if address is None:
        return re.sub(r"<img [^>]*>\n*(\*[^*]*\*\n*)?", "", re.sub(link, r"\1", readme))
    readme = re.sub(link, rf"[\1]({address[1]}/blob/main/\2)", readme)
    return re.sub(picture, rf"\1{address[1]}/raw/main/\2", readme)


if __name__ == "__main__":
    setup(
        long_description=package_page(
            (ROOT / "README.md").read_text(encoding="utf-8"),
            (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
        ),
        long_description_content_type="text/markdown",
    )
