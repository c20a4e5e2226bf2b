"""Which piece an engine filters a frame in: the one it is given, or the largest that a memory limit leaves room for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from postfilter.errors import InputError
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.padding import padded_size
from postfilter.runtime.pieces import candidate_pieces, computed_share, piece_within

__all__ = [
    "ACTIVATION_BYTES",
    "RESHAPING",
    "Piece",
    "PieceRule",
    "activation_bytes",
    "check_piece",
    "estimate_mb",
    "geometry",
    "given_piece",
    "streams_of",
]

Piece = tuple[int, int] | Literal["auto", "whole"]
"""(width, height) in samples; `auto`: what the engine or the memory limit asks for; `whole`: frames are not cut."""

ACTIVATION_BYTES = "activation_bytes_per_px"
"""The key of a manifest's `cost` that holds `runtime.activations.activation_bytes_per_px` of the engine's graph."""

RESHAPING = ("openvino",)
"""Backends that make a graph of one fixed size ready for another; the others filter its frames whole."""

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class _Footprint:
    """What a backend takes beside activations and frames, measured on Linux and rounded up."""

    compile_mb: float
    """MiB above the idle process at the peak of reading and compiling."""
    run_mb: float
    """MiB afterwards: its code in use, the graph, weights."""
    slack: float
    """Its activations take up to so many times the values that are alive at once: scratch memory, arenas that double,
    memory kept for the next run."""


_FOOTPRINTS = {
    # 2026.4 on Linux 6.18, which gives back while compiling what it no longer needs.
    "openvino": _Footprint(compile_mb=40, run_mb=20, slack=1.08),
    "onnxruntime": _Footprint(compile_mb=14, run_mb=14, slack=2.25),  # 1.31
    "torch": _Footprint(compile_mb=112, run_mb=112, slack=2.6),  # 2.13
}
_FOOTPRINT_ELSEWHERE = _Footprint(compile_mb=200, run_mb=200, slack=3)


def activation_bytes(folder: Path, manifest: EngineManifest) -> float:
    """Return the bytes of activations for each sample of the plane, of one inference of an engine.

    Taken from the manifest where it tells (importing onnx takes memory itself), else computed from the graph.

    Raises:
        ArtefactError: the graph's shapes cannot be followed.
    """
    told = manifest.cost.get(ACTIVATION_BYTES)
    if told is None:
        import onnx

        from postfilter.runtime.activations import activation_bytes_per_px

        told = activation_bytes_per_px(onnx.load(folder / GRAPH))
    # An fp16 graph that is run in fp32 holds twice as much; only OpenVINO keeps an int8 graph's values as bytes.
    if (manifest.precision, manifest.precision_run) == ("fp16", "fp32"):
        return 2 * float(told)
    return float(told) * (4 if manifest.precision == "int8" and manifest.backend != "openvino" else 1)


def estimate_mb(
    manifest: EngineManifest,
    *,
    width: int,
    height: int,
    piece: tuple[int, int] | None,
    activation_bytes_per_px: float,
    sample_bytes: int,
    streams: int,
    requests: int,
) -> float:
    """Return the peak growth of the process in MiB that is to be expected while frames are streamed.

    Args:
        manifest: the engine's.
        width: of the frames, as `height`.
        height: see `width`.
        piece: (width, height), or None for whole frames.
        activation_bytes_per_px: see `activation_bytes`.
        sample_bytes: 1 for 8 bits a sample, 2 above.
        streams: inferences that hold activations at the same time.
        requests: inferences in flight.
    """
    footprint = _FOOTPRINTS.get(manifest.backend, _FOOTPRINT_ELSEWHERE)
    wide, high = piece or (width, height)
    plane = manifest.input_channels * sample_bytes / _MIB
    # Pieces: one frame comes in, one goes out, and the caller still holds the one before; with several in flight one
    # more comes in. Whole: each inference has its own two, one more waits, and one is the caller's.
    held = (3 if requests == 1 else 4) if piece else 2 * (streams + 2)
    frames = width * height * plane * held
    buffers = 2 * wide * high * plane * (streams + 1) if piece else 0.0
    activations = streams * footprint.slack * activation_bytes_per_px * wide * high / _MIB
    return max(footprint.compile_mb, footprint.run_mb + activations + frames + buffers)


def check_piece(manifest: EngineManifest, piece: Piece, memory_limit_mb: float | None) -> None:
    """Refuse what no frame can be filtered with.

    Raises:
        InputError: a piece that is neither `auto`, `whole` nor two positive whole numbers, one for an engine of a fixed
            size whose backend cannot change it, or a limit that is not above 0.
    """
    if isinstance(piece, str):
        if piece not in ("auto", "whole"):
            raise InputError(f"got piece {piece!r}; give (width, height), 'auto' or 'whole'")
    elif len(piece) != 2 or not all(isinstance(side, int) and side > 0 for side in piece):
        raise InputError(f"got piece {piece!r}; give (width, height), both whole numbers above 0")
    elif manifest.size is not None and manifest.backend not in RESHAPING:
        raise InputError(
            f"got a piece of {piece[0]}x{piece[1]}, and on {manifest.backend} this engine takes {manifest.size[0]}x"
            f"{manifest.size[1]} alone; make one with --size dynamic"
        )
    if memory_limit_mb is not None and not memory_limit_mb > 0:
        raise InputError(f"got a memory limit of {memory_limit_mb} MB; it must be above 0, or left out")


def given_piece(manifest: EngineManifest, piece: Piece) -> tuple[int, int] | None:
    """Return the piece that is asked for: by the caller, or by the engine where the caller says `auto`."""
    if isinstance(piece, str):
        return manifest.piece if piece == "auto" else None
    return piece


def geometry(manifest: EngineManifest) -> dict[str, int]:
    """Return what `runtime.pieces` must know of an engine: `halo`, `multiple` and `period`."""
    return {"halo": manifest.halo, "multiple": manifest.size_multiple, "period": manifest.period}


def streams_of(backend: str, requests: int) -> int:
    """Return how many inferences hold activations at the same time when `requests` are in flight."""
    if backend in ("onnxruntime", "torch"):
        return 1
    # OpenVINO: one request waits while the others run.
    return max(1, requests - 1)


@dataclass(frozen=True, kw_only=True)
class PieceRule:
    """Says for each frame size in which piece an engine filters it."""

    manifest: EngineManifest
    piece: Piece
    memory_limit_mb: float | None
    activation_bytes_per_px: float
    """0 where there is no limit."""
    dtype: np.dtype[np.generic]
    """Of the samples."""
    streams: int
    """Inferences that hold activations at the same time in a stream."""
    requests: int
    """Inferences in flight in a stream."""

    def at(self, width: int, height: int) -> tuple[int, int] | None:
        """Return (width, height) of the pieces of a frame of this size; None where it is filtered whole.

        With a limit and `auto`, the engine's own piece if it fits, else the one with the least overlap that does.

        Raises:
            InputError: nothing fits the limit, or what was asked for does not.
        """
        chosen = self._within(width, height, given_piece(self.manifest, self.piece))
        if self.memory_limit_mb is None or self._estimate(width, height, chosen) <= self.memory_limit_mb:
            return chosen
        if self.piece != "auto":
            raise InputError(
                f"filtering {width}x{height} {_words(chosen)} takes about {self._estimate(width, height, chosen):.0f} "
                f"MB, and the memory limit is {self.memory_limit_mb:.0f} MB; leave the piece to be chosen, or raise "
                "the limit"
            )
        return self._largest(width, height, self.memory_limit_mb)

    def _largest(self, width: int, height: int, limit_mb: float) -> tuple[int, int]:
        cuttable = self.manifest.size is None or self.manifest.backend in RESHAPING
        pieces = candidate_pieces(width, height, **geometry(self.manifest))[1:] if cuttable else []
        for piece in pieces:
            if self._estimate(width, height, piece) <= limit_mb:
                return piece
        least = min((self._estimate(width, height, each) for each in [None, *pieces]), default=math.inf)
        raise InputError(
            f"the memory limit is {limit_mb:.0f} MB; filtering {width}x{height} with this engine takes at least "
            f"{math.ceil(least)} MB with {self.streams} inferences at a time, of which the backend itself takes most: "
            "raise the limit, or ask for fewer requests"
        )

    def _within(self, width: int, height: int, piece: tuple[int, int] | None) -> tuple[int, int] | None:
        """The piece no larger than the frame; None where that is all of it."""
        if piece is None:
            return None
        multiple, period = self.manifest.size_multiple, self.manifest.period
        fitting = piece_within(width, height, piece=piece, multiple=multiple, period=period)
        if fitting == padded_size(width, height, multiple=multiple):
            return None
        computed_share(width, height, piece=fitting, **geometry(self.manifest))  # refuses one that is too small
        return fitting

    def _estimate(self, width: int, height: int, piece: tuple[int, int] | None) -> float:
        return estimate_mb(
            self.manifest,
            width=width,
            height=height,
            piece=piece,
            activation_bytes_per_px=self.activation_bytes_per_px,
            sample_bytes=self.dtype.itemsize,
            streams=self.streams,
            requests=self.requests,
        )


def _words(piece: tuple[int, int] | None) -> str:
    return "whole" if piece is None else f"in pieces of {piece[0]}x{piece[1]}"
