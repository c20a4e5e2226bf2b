"""A local web page that shows a clip before and after while it is being filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.video.preview.preview import Preview

__all__ = ["Preview"]

__getattr__ = lazy_names(__name__, {"Preview": "preview"})
