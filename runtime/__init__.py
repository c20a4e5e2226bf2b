"""Engines behind one interface, and measuring them. Importing this loads no backend and no other room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.runtime.backend import BACKENDS, Execution
    from postfilter.runtime.bit_depth import with_bit_depth
    from postfilter.runtime.engine import Engine
    from postfilter.runtime.loading import load_engine
    from postfilter.runtime.manifest import EngineManifest, read_manifest, sha256_of_file, write_manifest
    from postfilter.runtime.measure import Speed, measure_speed
    from postfilter.runtime.memory import MemoryUse, PeakMemory, measure_memory
    from postfilter.runtime.piece_choice import PieceChoice, fastest_piece
    from postfilter.runtime.profile import Profile, profile_engine
    from postfilter.runtime.stream_item import StreamItem
    from postfilter.runtime.tile_reuse import TileReuse, TileUse

__all__ = [
    "BACKENDS",
    "Engine",
    "EngineManifest",
    "Execution",
    "MemoryUse",
    "PeakMemory",
    "PieceChoice",
    "Profile",
    "Speed",
    "StreamItem",
    "TileReuse",
    "TileUse",
    "fastest_piece",
    "load_engine",
    "measure_memory",
    "measure_speed",
    "profile_engine",
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
    "MemoryUse": "memory",
    "PeakMemory": "memory",
    "PieceChoice": "piece_choice",
    "Profile": "profile",
    "Speed": "measure",
    "StreamItem": "stream_item",
    "TileReuse": "tile_reuse",
    "TileUse": "tile_reuse",
    "fastest_piece": "piece_choice",
    "load_engine": "loading",
    "measure_memory": "memory",
    "measure_speed": "measure",
    "profile_engine": "profile",
    "read_manifest": "manifest",
    "sha256_of_file": "manifest",
    "with_bit_depth": "bit_depth",
    "write_manifest": "manifest",
}

__getattr__ = lazy_names(__name__, _HOME)
