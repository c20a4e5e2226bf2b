"""The ways to run a model that `export-engine --auto` tries, and one row of its table for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postfilter.errors import PostfilterError
from postfilter.export.key import DEFAULT_DEVICE
from postfilter.export.passes.rewriting import PASSES
from postfilter.export.precision import Precision, check_precision
from postfilter.runtime.backend import usable_cores
from postfilter.runtime.cuda_probe import probe_cuda
from postfilter.runtime.machine import installed_version
from postfilter.runtime.trt_library import import_library

__all__ = [
    "CHOSEN",
    "PASSES_GATE",
    "AutoRow",
    "Candidate",
    "first_candidates",
    "in_order",
    "unavailable",
    "unusual_passes",
    "ways_to_run",
]

CHOSEN, PASSES_GATE = "chosen", "passes"
"""Verdicts; the others are `refused: …` and `unavailable: …` with the reason."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run a model."""

    backend: str
    device: str
    """The backend's own name of it."""
    precision: Precision
    passes: tuple[str, ...] | None = None
    """Names of the exact rewrites; those that are usual for the backend where None."""
    layers: tuple[str, ...] | None = None
    """For int8, the layers that are quantized; all where None."""
    piece: tuple[int, int] | None = None
    """(width, height) of the pieces of a frame; None for whole frames."""
    requests: int | None = None
    """Frames in flight; the backend's choice where None."""
    threads: int | None = None
    """CPU threads; every core where None."""

    @property
    def departures(self) -> int:
        """In how many ways it differs from what the backend does by itself."""
        ways = (self.passes, self.layers, self.piece, self.requests, self.threads)
        return sum(each is not None for each in ways)

    def __str__(self) -> str:
        words = [self.backend, self.precision]
        words += ["with other rewrites"] * (self.passes is not None)
        words += ["with layers in float"] * (self.layers is not None)
        words += [f"in pieces of {self.piece[0]}x{self.piece[1]}"] if self.piece else []
        words += [f"{self.requests} in flight"] if self.requests else []
        words += [f"on {self.threads} threads"] if self.threads else []
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class AutoRow:
    """What was found of one candidate; None where it was not measured."""

    backend: str
    device: str
    precision: str | None
    """None for a backend that cannot be had at all."""
    precision_run: str | None = None
    """What most of the arithmetic really ran in."""
    passes: tuple[str, ...] = ()
    """The exact rewrites that changed the graph."""
    int8_layers: tuple[str, ...] | None = None
    """The layers in int8 where some stayed in float; None for all, and for other precisions."""
    piece: tuple[int, int] | None = None
    """(width, height); None for whole frames."""
    requests: int | None = None
    """Frames in flight."""
    threads: int | None = None
    """CPU threads; None for every core."""
    ms_p50: float | None = None
    """Time of a single frame in milliseconds: the median, of the fastest round."""
    fps: float | None = None
    """Frames a second through `Engine.stream`, in the fastest round."""
    psnr_db: float | None = None
    """Of its output against the PyTorch reference's."""
    delta_psnr: float | None = None
    """What it gains on coded frames, in dB."""
    kept: float | None = None
    """The share of that of fp32's gain; 0 where fp32 gains nothing to speak of."""
    peak_memory_mb: float | None = None
    """Growth of the process above the idle one at the peak of a stream, in MiB; of the last few alone."""
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return {
            name: list(each) if isinstance(each, tuple) else each for name, each in dataclasses.asdict(self).items()
        }


def first_candidates(
    backends: Sequence[str], precisions: Sequence[Precision], *, device: str | None = None
) -> tuple[list[Candidate], list[AutoRow]]:
    """Return what to try first, and a row for each backend and precision that cannot be had.

    Libraries are not imported to find them broken, but TensorRT's, once the driver told of a GPU: the first engine of
    the others does that.

    Args:
        backends: keys of `runtime.BACKENDS`.
        precisions: of `export.precision`.
        device: the one device to try; each backend's own in `DEFAULT_DEVICE` where None.
    """
    found, absent = [], []
    for backend in backends:
        where = device or DEFAULT_DEVICE[backend]
        problem = _problem(backend)
        if problem:
            absent.append(unavailable(backend, where, None, problem))
            continue
        for precision in precisions:
            candidate = Candidate(backend=backend, device=where, precision=precision)
            if backend == "torch" and precision == "fp16" and where == "cpu":
                absent.append(unavailable(backend, where, precision, "PyTorch computes it in fp32 on a CPU"))
                continue
            try:
                check_precision(precision, backend, device=where)
            except PostfilterError as error:
                absent.append(unavailable(backend, where, precision, str(error)))
                continue
            found.append(candidate)
    return found, absent


def ways_to_run(candidate: Candidate) -> list[Candidate]:
    """Return the same engine with other numbers of frames in flight and of threads, where these may matter.

    OpenVINO shares the cores among as many frames as are in flight but one: all cores on one frame, or one each, may be
    faster than what lies between. Cores that share arithmetic units may be faster one by one.
    """
    if candidate.backend != "openvino" or candidate.device.upper() != "CPU":
        return []
    cores = usable_cores()
    usual = min(cores, 4) + 1
    found = [dataclasses.replace(candidate, requests=each) for each in sorted({2, cores + 1} - {usual})]
    if cores >= 4:
        found.append(dataclasses.replace(candidate, threads=cores // 2))
    return found


def unavailable(
    backend: str, device: str, precision: str | None, reason: str, *, passes: tuple[str, ...] = ()
) -> AutoRow:
    """Return the row of what cannot be had, with the first part of the reason: the rest says what to try instead."""
    told = reason.split(";")[0].strip()
    return AutoRow(backend=backend, device=device, precision=precision, passes=passes, verdict=f"unavailable: {told}")


def unusual_passes(backend: str, passes: Sequence[str]) -> list[str]:
    """Return those of the rewrites that a backend does not get unless asked for."""
    return [name for name in passes if backend not in PASSES[name].backends]


def in_order(rows: Sequence[AutoRow]) -> list[AutoRow]:
    """Return the rows as a table has them: chosen, passing, refused, the fastest of each first; then the rest."""
    kinds = (CHOSEN, PASSES_GATE, "refused")

    def place(row: AutoRow) -> tuple[int, float]:
        kind = row.verdict.split(":")[0]
        return kinds.index(kind) if kind in kinds else len(kinds), -(row.fps or 0.0)

    return sorted(rows, key=place)


def _problem(backend: str) -> str:
    """Why a backend cannot be had here at all; empty where nothing is known against it."""
    if backend != "tensorrt":
        return "" if installed_version(backend, load=False) else "not installed"
    if not probe_cuda().devices:
        return f"no NVIDIA GPU ({probe_cuda().problem})"
    try:
        # Its version may not be told although it is there, as a part of JetPack.
        import_library("building a TensorRT engine")
    except PostfilterError as error:
        return str(error)
    return ""
