"""The files that pages are made of, which lie beside the code that uses them."""

from __future__ import annotations

from importlib import resources

__all__ = ["page_asset"]


def page_asset(name: str, *, package: str = "postfilter.video.pages") -> str:
    """Return the text of a file of a package, such as `slider.js`."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
