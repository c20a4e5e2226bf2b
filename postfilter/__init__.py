"""Deploy neural post-filters: export, verify and run compression-artefact removal on real video.

The names below are the public ones; each is imported on first use, so `import postfilter` is quick and needs no
backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from postfilter.export import build_engine, cached_engine
    from postfilter.models import load as load_model
    from postfilter.runtime import Engine, load_engine
    from postfilter.video import filter_image, filter_video

__all__ = [
    "Engine",
    "__version__",
    "build_engine",
    "cached_engine",
    "filter_image",
    "filter_video",
    "load_engine",
    "load_model",
]

_HOME = {
    "Engine": "postfilter.runtime:Engine",
    "build_engine": "postfilter.export:build_engine",
    "cached_engine": "postfilter.export:cached_engine",
    "filter_image": "postfilter.video:filter_image",
    "filter_video": "postfilter.video:filter_video",
    "load_engine": "postfilter.runtime:load_engine",
    "load_model": "postfilter.models:load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'postfilter' has no attribute {name!r}")
    module, attribute = _HOME[name].split(":")
    return getattr(importlib.import_module(module), attribute)
