"""Checks that every link inside a built site leads to a file of it, and to a place in that file.

    python scripts/site_links.py build/docs/html

Links to other sites are not followed: this needs no network. Exit code 1 if one leads nowhere.
"""

import argparse
import functools
import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The links of a page, and the places in it that links may name.

    Args:
        text: str, HTML.
    """

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.links += [values[name] for name in ("href", "src") if name in values]
        self.places |= {values[name] for name in ("id", "name") if name in values}


@functools.cache
def read(path: pathlib.Path) -> Page:
    """The page in a file."""
    return Page(path.read_text(encoding="utf-8"))


def broken_links(site: pathlib.Path) -> list[str]:
    """A line for each link of the site that leads nowhere.

    Args:
        site: folder with HTML files, at any depth.

    Returns:
        Sorted lines `page: link (reason)`.
    """
    found = set()
    for page in site.rglob("*.html"):
        for link in read(page).links:
            reason = _defect(page, link)
            if reason:
                found.add(f"{page.relative_to(site)}: {link} ({reason})")
    return sorted(found)


def _defect(page: pathlib.Path, link: str) -> str | None:
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = page if not parts.path else page.parent / urllib.parse.unquote(parts.path)
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "no such file"
    place = urllib.parse.unquote(parts.fragment)
    if place and target.suffix == ".html" and place not in read(target.resolve()).places:
        return f"no {place!r} there"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Print what is broken; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=pathlib.Path)
    site = parser.parse_args(arguments).site.resolve()
    pages = sum(1 for _ in site.rglob("*.html"))
    broken = broken_links(site)
    print(*broken, sep="\n", end="\n" if broken else "")
    print(f"{pages} pages, {len(broken)} broken links")
    return int(bool(broken) or not pages)


if __name__ == "__main__":
    sys.exit(main())
