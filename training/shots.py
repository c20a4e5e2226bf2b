"""Footage through real encoders at random settings, kept on disk: shots of degraded and clean frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from postfilter.training.coding import CodecName, Coding, code
from postfilter.training.footage import Footage
from postfilter.training.pool import Samples

__all__ = ["KEPT_FRAMES", "CodingMix", "Shot", "code_shots"]

KEPT_FRAMES = 8
"""Frames of a coded stretch that are kept: neighbours, for filters that look at several."""
_FORM = 1
"""Raised when other frames come out of the same key."""


@dataclass(frozen=True)
class Shot:
    """Frames that follow each other, read from disk as they are looked at."""

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
    """Lowest and highest constant QP, both included, all equally often; a rate factor is at most 40."""
    constant: float = 0.75
    """Share at a constant QP; the others have a constant rate factor, where the encoder varies QP over the picture."""
    presets: tuple[str, ...] = ("medium", "medium", "medium", "medium", "veryfast", "slow")
    """The encoders', each as often as it is listed."""

    def draw(self, rng: np.random.Generator) -> Coding:
        """Return one way to code a shot."""
        constant = bool(rng.random() < self.constant)
        low, high = self.quality
        return Coding(
            codec=self.codecs[rng.integers(len(self.codecs))],
            quality=int(rng.integers(low, max(low, high if constant else min(high, 40)) + 1)),
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
    on_progress: Callable[..., None] | None = None,
) -> list[Shot]:
    """Code footage and keep some frames of each coded stretch; what is on disk already is taken from there.

    Each shot is a file of its own, so that a run that was killed loses the shot it was at.

    Args:
        footage: coded `repeats` times each.
        mix: what to draw the settings from.
        repeats: shots of each piece of footage.
        seed: decides the settings, and which frames are kept.
        cache: folder for this and other sets of shots.
        threads: shots coded at a time, each by one thread of its encoder.
        on_progress: called as `on_progress(done, total)`.
    """
    parts = [str(_FORM), av.library_versions["libavcodec"], mix, repeats, seed, *(each.key for each in footage)]
    folder = cache / hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)

    def shots_of(number: int) -> list[Shot]:
        paths = [folder / f"{number:05d}-{repeat}.npz" for repeat in range(repeats)]
        if not all(path.exists() for path in paths):
            clean = footage[number].frames()
            for repeat, path in enumerate(paths):
                _write(path, clean, mix, np.random.default_rng((seed, number, repeat)))
        return [_read(path) for path in paths]

    return list(_in_parallel(shots_of, len(footage), threads, on_progress))


def _in_parallel(
    shots_of: Callable[[int], list[Shot]], count: int, threads: int, on_progress: Callable[..., None] | None
) -> Iterator[Shot]:
    with ThreadPoolExecutor(threads) as workers:
        for done, shots in enumerate(workers.map(shots_of, range(count)), start=1):
            yield from shots
            if on_progress is not None:
                on_progress(done, count)


def _write(path: Path, clean: Samples, mix: CodingMix, rng: np.random.Generator) -> None:
    coded = code(clean, mix.draw(rng))
    first = int(rng.integers(max(len(clean) - KEPT_FRAMES, 0) + 1))
    kept = slice(first, first + KEPT_FRAMES)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, degraded=coded.frames[kept], clean=clean[kept], qp=coded.qp[kept])
    partial.replace(path)


def _read(path: Path) -> Shot:
    with np.load(path) as file:
        return Shot(file["degraded"], file["clean"], file["qp"])
