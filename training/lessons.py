"""What a teacher makes of every frame of a pool, computed once and kept on disk for all its students."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from postfilter.models import Model
from postfilter.runtime.further_inputs import BLOCK
from postfilter.training.pool import PatchPool, as_codes

__all__ = ["STEPS_A_CODE", "read_lessons", "write_lessons"]

STEPS_A_CODE = 8
"""Corrections are kept in eighths of a code value: a fiftieth of what the strongest filters change."""

Lesson = npt.NDArray[np.int8]


@torch.no_grad()
def write_lessons(
    pool: PatchPool, teacher: Model, *, cache: Path, on_progress: Callable[..., None] | None = None
) -> Path:
    """Compute a teacher's corrections of the degraded pictures of a pool, where they are not on disk yet.

    Args:
        pool: luma, with the QP, and with neighbours where the teacher reads them.
        teacher: a residual luma network.
        cache: folder to keep them in, under a name made of the teacher's weights and of the pictures.
        on_progress: called as `on_progress(done, total)`.

    Returns:
        The file, for `read_lessons`.
    """
    path = cache / f"lessons-{_key(pool.degraded, teacher)}.int8"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            for index in range(len(pool.degraded)):
                file.write(_correct(pool, index, teacher).tobytes())
                if on_progress is not None:
                    on_progress(index + 1, len(pool.degraded))
        partial.replace(path)
    return path


def read_lessons(path: Path, pool: PatchPool) -> list[Lesson]:
    """Return what `write_lessons` wrote of the pool: int8 [1, H, W] a picture, in steps of 1 / `STEPS_A_CODE` codes.

    They stay on disk: runs beside each other share the memory.
    """
    flat = np.memmap(path, np.int8, "r")
    ends = np.cumsum([0, *(picture.size for picture in pool.clean)])
    return [
        flat[start:end].reshape(picture.shape) for (start, end), picture in zip(pairwise(ends), pool.clean, strict=True)
    ]


def _correct(pool: PatchPool, index: int, teacher: Model) -> Lesson:
    picture = torch.from_numpy(np.array(pool.degraded[index]))[None].float() / 255
    if "qp" in teacher.card.inputs and pool.qp is not None:
        levels = torch.from_numpy(as_codes(pool.qp[index])).float() / 255
        plane = levels.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
        picture = torch.cat([picture, plane[None, None, : picture.shape[2], : picture.shape[3]]], dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        correction = teacher.network(picture.contiguous(memory_format=torch.channels_last))
    steps = (correction[0].float() * (255 * STEPS_A_CODE)).round().clamp(-127, 127)
    return steps.to(torch.int8).numpy()


def _key(pictures: Sequence[npt.NDArray[np.uint8]], teacher: Model) -> str:
    digest = hashlib.sha256(teacher.weights_sha256.encode())
    for picture in pictures:
        digest.update(np.ascontiguousarray(picture[:, ::16, ::16]).tobytes())
    return digest.hexdigest()[:16]
