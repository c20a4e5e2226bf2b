"""Engines behind one interface, and measuring them. Importing this loads no backend and no other room."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postfilter.runtime.backend import BACKENDS, Execution
    from postfilter.runtime.bit_depth import with_bit_depth
    from postfilter.runtime.engine import Engine, load_engine
    from postfilter.runtime.manifest import EngineManifest, read_manifest, sha256_of_file, write_manifest

__all__ = [
    "BACKENDS",
    "Engine",
    "EngineManifest",
    "Execution",
    "load_engine",
    "read_manifest",
    "sha256_of_file",
    "with_bit_depth",
    "write_manifest",
]

_HOME = {
    "BACKENDS": "backend",
    "Engine": "engine",
    "EngineManifest": "manifest",
    "Execution": "backend",
    "load_engine": "engine",
    "read_manifest": "manifest",
    "sha256_of_file": "manifest",
    "with_bit_depth": "bit_depth",
    "write_manifest": "manifest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'postfilter.runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(f"postfilter.runtime.{_HOME[name]}"), name)
