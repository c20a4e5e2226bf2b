"""From shots to a pool of pictures: frames by themselves, or with their neighbours moved onto them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from postfilter.runtime.neighbours import NEIGHBOURS, neighbours_of
from postfilter.training.pool import PatchPool, Samples
from postfilter.training.shots import Shot

__all__ = ["alone", "pool_of", "read_surrounded", "write_surrounded"]

_FORM = 1
"""Raised when neighbours are moved otherwise."""


def pool_of(shots: Sequence[Shot], *, frames: tuple[int, ...] | None = None) -> PatchPool:
    """Return a pool of frames of shots, those numbered `frames` of each; None takes all."""
    chosen = _chosen(shots, frames)
    return PatchPool(
        [shot.degraded[index][None] for shot, index in chosen],
        [shot.clean[index][None] for shot, index in chosen],
        [shot.qp[index] for shot, index in chosen],
    )


def alone(pool: PatchPool) -> PatchPool:
    """Return a pool of stills as a temporal network is shown them: each is its own neighbour, which costs no memory."""
    three = 1 + len(NEIGHBOURS)
    return replace(pool, degraded=[np.broadcast_to(each, (three, *each.shape[1:])) for each in pool.degraded])


def write_surrounded(
    shots: Sequence[Shot],
    *,
    cache: Path,
    frames: tuple[int, ...] | None = None,
    on_progress: Callable[..., None] | None = None,
) -> Path:
    """Move the neighbours of frames onto them, where that is not on disk yet, and write all three.

    Args:
        shots: coded footage. The first and the last frame of a shot stand as at a cut.
        cache: folder to keep the file in, under a name made of the frames.
        frames: as `pool_of` takes them.
        on_progress: called as `on_progress(done, total)`.

    Returns:
        The file, for `read_surrounded`.
    """
    chosen = _chosen(shots, frames)
    path = cache / f"surrounded-{_key(chosen)}.uint8"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as workers:
            for done, three in enumerate(workers.map(lambda each: _surrounded(*each), chosen), start=1):
                file.write(three.tobytes())
                if on_progress is not None:
                    on_progress(done, len(chosen))
        partial.replace(path)
    return path


def read_surrounded(path: Path, pool: PatchPool) -> PatchPool:
    """Return the pool, as `pool_of` makes it, with what `write_surrounded` wrote of it as its degraded pictures.

    They are uint8 [3, H, W], the frame first, and stay on disk: runs beside each other share the memory.
    """
    flat = np.memmap(path, np.uint8, "r")
    ends = np.cumsum([0, *((1 + len(NEIGHBOURS)) * picture.size for picture in pool.clean)])
    threes = [
        flat[start:end].reshape(-1, *picture.shape[1:])
        for (start, end), picture in zip(pairwise(ends), pool.clean, strict=True)
    ]
    return replace(pool, degraded=threes)


def _chosen(shots: Sequence[Shot], frames: tuple[int, ...] | None) -> list[tuple[Shot, int]]:
    return [(shot, index) for shot in shots for index in frames or range(len(shot.clean)) if index < len(shot.clean)]


def _surrounded(shot: Shot, index: int) -> Samples:
    shown = shot.degraded[:, None, None]
    before = shown[index - 1] if index else None
    after = shown[index + 1] if index + 1 < len(shown) else None
    around = neighbours_of(shown[index], before, after)
    return np.concatenate([shown[index, 0], *(around[name] for name in NEIGHBOURS)])


def _key(chosen: Sequence[tuple[Shot, int]]) -> str:
    digest = hashlib.sha256(f"{_FORM}".encode())
    for shot, index in chosen:
        digest.update(np.ascontiguousarray(shot.degraded[index, ::16, ::16]).tobytes())
    return digest.hexdigest()[:16]
