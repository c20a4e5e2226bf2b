"""Footage through real encoders at random settings, kept on disk: shots of degraded and clean frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from postfilter.training.coding import HIGHEST_QP, CodecName, Coding, code
from postfilter.training.footage import Footage
from postfilter.training.pool import Samples
from postfilter.training.processes import Processes

__all__ = ["KEPT_FRAMES", "CodingMix", "Shot", "code_shots"]

KEPT_FRAMES = 8
"""Frames of a coded stretch that are kept: neighbours, for filters that look at several."""
HIGHEST_CRF = 40
_FORM = 1
"""Raised when other frames come out of the same key."""


@dataclass(frozen=True)
class Shot:
    """Frames that follow each other."""

    degraded: Samples
    """Luma as a decoder shows it, uint8 [T, H, W]."""
    clean: Samples
    """The same frames before coding."""
    qp: npt.NDArray[np.uint8]
    """Of each block of 16x16 samples, [T, ceil(H / 16), ceil(W / 16)]."""


@dataclass(frozen=True, kw_only=True)
class CodingMix:
    """What footage is coded with; each shot draws its own."""

    codecs: tuple[CodecName, ...]
    """Each as often as it is listed."""
    quality: tuple[int, int]
    """Lowest and highest constant QP, both included, all equally often; a rate factor is at most 40,
    and none is coarser than its codec knows."""
    constant: float = 0.75
    """Share at a constant QP; the others have a constant rate factor, where the encoder varies QP over the picture."""
    presets: tuple[str, ...] = ("medium", "medium", "medium", "medium", "veryfast", "slow")
    """The encoders', each as often as it is listed."""

    def draw(self, rng: np.random.Generator) -> Coding:
        """Return one way to code a shot."""
        constant = bool(rng.random() < self.constant)
        low, high = self.quality
        codec = self.codecs[rng.integers(len(self.codecs))]
        highest = min(high, HIGHEST_QP[codec], 51 if constant else HIGHEST_CRF)
        return Coding(
            codec=codec,
            quality=int(rng.integers(low, max(low, highest) + 1)),
            constant=constant,
            preset=self.presets[rng.integers(len(self.presets))],
        )


def code_shots(
    footage: Sequence[Footage],
    mix: CodingMix,
    *,
    repeats: int,
    seed: int,
    cache: Path,
    threads: int,
    processes: Processes | None = None,
    on_progress: Callable[..., None] | None = None,
) -> list[Shot]:
    """Code footage and keep some frames of each coded stretch; what is on disk already is taken from there.

    Each shot is a file of its own, so that a run that was killed loses only those it was at.

    Args:
        footage: coded `repeats` times each.
        mix: what to draw the settings from.
        repeats: shots of each piece of footage.
        seed: decides the settings, and which frames are kept.
        cache: folder for this and other sets of shots.
        threads: pieces of footage coded at a time, each by one thread of its encoder.
        processes: those that call this at once; each on a machine codes a share, and all read everything.
        on_progress: called as `on_progress(done, total)`.
    """
    parts = [str(_FORM), av.library_versions["libavcodec"], mix, repeats, seed, *(each.key for each in footage)]
    folder = cache / hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)

    def paths_of(number: int) -> list[Path]:
        return [folder / f"{number:05d}-{repeat}.npz" for repeat in range(repeats)]

    def fill(number: int) -> None:
        lacking = {repeat: path for repeat, path in enumerate(paths_of(number)) if not path.exists()}
        if lacking:
            clean = footage[number].frames()
            for repeat, path in lacking.items():
                _write(path, clean, mix, np.random.default_rng((seed, number, repeat)))

    processes = processes or Processes()
    mine = range(len(footage))[processes.local_rank :: processes.local_count]
    with ThreadPoolExecutor(threads) as workers:
        for done, _ in enumerate(workers.map(fill, mine), start=1):
            if on_progress is not None:
                on_progress(done, len(mine))
    processes.wait()
    # By one thread: NumPy parses headers by `ast`, which in Python 3.11 fails when several threads do at once (CPython
    # issue 106905).
    return [_read(path) for number in range(len(footage)) for path in paths_of(number)]


def _write(path: Path, clean: Samples, mix: CodingMix, rng: np.random.Generator) -> None:
    coded = code(clean, mix.draw(rng))
    first = int(rng.integers(max(len(clean) - KEPT_FRAMES, 0) + 1))
    kept = slice(first, first + KEPT_FRAMES)
    # Another run may be at the same shot.
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, degraded=coded.frames[kept], clean=clean[kept], qp=coded.qp[kept])
    partial.replace(path)


def _read(path: Path) -> Shot:
    with np.load(path) as file:
        return Shot(file["degraded"], file["clean"], file["qp"])
