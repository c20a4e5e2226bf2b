"""Deploy neural post-filters: export, verify and run compression-artefact removal on real video.

The names below are the public ones; each is imported on first use, so `import postfilter` is quick and needs no
backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from postfilter.export import build_engine, cached_engine
    from postfilter.models import load as load_model
    from postfilter.runtime import Engine, load_engine
    from postfilter.video import Frame, filter_frames, filter_image, filter_video

__all__ = [
    "Engine",
    "Frame",
    "__version__",
    "build_engine",
    "cached_engine",
    "filter_frames",
    "filter_image",
    "filter_video",
    "load_engine",
    "load_model",
]

_HOME = {
    "Engine": "runtime",
    "Frame": "video",
    "build_engine": "export",
    "cached_engine": "export",
    "filter_frames": "video",
    "filter_image": "video",
    "filter_video": "video",
    "load_engine": "runtime",
    "load_model": "models:load",
}

__getattr__ = lazy_names(__name__, _HOME)
