"""What a recipe trains and validates on: from folders and clips to pools of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from postfilter import models
from postfilter.errors import InputError
from postfilter.quality.clips import clip_files
from postfilter.quality.images import image_files
from postfilter.runtime.sealed import user_cache
from postfilter.training.coding import HIGHEST_QP, CodecName
from postfilter.training.footage import Footage, pans_of, stretches_of
from postfilter.training.jpeg import JpegMix, jpeg_pool
from postfilter.training.lessons import read_lessons, write_lessons
from postfilter.training.pool import PatchPool, Samples
from postfilter.training.processes import Processes
from postfilter.training.recipe import Degradation, Recipe
from postfilter.training.shot_pool import alone, pool_of, read_surrounded, write_surrounded
from postfilter.training.shots import CodingMix, Shot, code_shots
from postfilter.training.stills import read_images

__all__ = ["TrainingData", "load_data"]

VALIDATION_PICTURES = 10
VALIDATION_QUALITIES = (10, 20, 40)
VALIDATION_QP = (22, 27, 32, 37, 42)
# Fixed, so that every run of every recipe is validated on the same frames.
VALIDATION_SEED = 5
TAUGHT_FRAMES = (2, 5)
"""Of each shot of eight."""
VALIDATION_FRAMES = (2, 5)
VALIDATION_SCALE = 0.7

_CODECS: dict[Degradation, tuple[CodecName, ...]] = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "mixed": ("h264", "hevc", "hevc"),
    "mpeg2": ("mpeg2",),
    "av1": ("av1",),
    "all": ("h264", "hevc", "hevc", "mpeg2", "av1"),
}


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The pools of one run."""

    pool: PatchPool
    """What is trained on."""
    first: PatchPool | None
    """JPEG pictures for the first share of a run on a video codec (`Recipe.jpeg_first`)."""
    taught: PatchPool | None = None
    """Some frames of each shot with a teacher's corrections, for the share of a run with a teacher. Not all: computing
    them costs as much as many steps of a small student."""
    validation: Mapping[str, PatchPool]
    """What the weights are chosen on, by codec and quality, such as `hevc 37`; each counts the same."""


def load_data(
    recipe: Recipe,
    *,
    images: Sequence[Path] = (),
    clips: Sequence[Path] = (),
    validation: Path | None = None,
    cache: Path | None = None,
    processes: Processes | None = None,
    on_progress: Callable[..., None] | None = None,
) -> TrainingData:
    """Read and degrade what a recipe trains on and chooses on.

    Args:
        recipe: decides the degradation and the seed.
        images: folders of pictures; stills are panned over where the degradation is a video codec.
        clips: 8-bit 4:2:0 clips, or folders of them, for video codecs only.
        validation: a folder of pictures to choose on, about ten of them, evenly spaced; where None, that many of
            `images` are held out.
        cache: folder that keeps coded video; the user's own where None.
        processes: those that call this at once, with the same arguments; they share the work on video.
        on_progress: called as `on_progress(done, total)`.

    Raises:
        InputError: nothing to train or to choose on, an unreadable file, or an RGB model with a video codec.
    """
    if not images and validation is None:
        raise InputError("no pictures to choose the weights on; give --images or --validation with a folder of them")
    paths = [path for folder in images for path in image_files(folder)]
    candidates = image_files(validation) if validation is not None else paths
    # Of a few pictures to train on no more than every fifth is held out.
    step = max(1 if validation is not None else 5, len(candidates) // VALIDATION_PICTURES)
    held_out = candidates[::step]
    if validation is None:
        paths = sorted(set(paths) - set(held_out))
    if recipe.degradation == "jpeg":
        return _jpeg_data(recipe, paths, held_out, clips, on_progress)
    cache, processes = cache or user_cache() / "shots", processes or Processes()
    coder = _Coder(recipe, cache, processes, on_progress)
    data, shots = _video_data(recipe, paths, held_out, clips, coder)
    if recipe.teacher is None:
        return data
    teacher = models.load(recipe.teacher, weights=Path(recipe.teacher_weights) if recipe.teacher_weights else None)
    shown = coder.pool_of(shots, frames=TAUGHT_FRAMES, temporal=bool(teacher.card.pictures))
    lessons = processes.from_first(lambda: write_lessons(shown, teacher, cache=cache, on_progress=on_progress))
    pool = coder.pool_of(shots, frames=TAUGHT_FRAMES, temporal=bool(models.card(recipe.model).pictures))
    return replace(data, taught=replace(pool, taught=read_lessons(lessons, pool)))


def _jpeg_data(
    recipe: Recipe,
    trained_on: Sequence[Path],
    chosen_on: Sequence[Path],
    clips: Sequence[Path],
    on_progress: Callable[..., None] | None,
) -> TrainingData:
    if clips:
        raise InputError("clips train filters for video codecs; use --degradation mixed, or one of them, with --clips")
    pictures = _read(chosen_on, recipe)
    layout = models.card(recipe.model).layout
    return TrainingData(
        pool=_jpeg_pool(recipe, _read(trained_on, recipe), on_progress),
        first=None,
        validation={
            f"jpeg {quality}": jpeg_pool(pictures, layout=layout, qualities=(quality,))
            for quality in VALIDATION_QUALITIES
        },
    )


def _video_data(
    recipe: Recipe, trained_on: Sequence[Path], chosen_on: Sequence[Path], clips: Sequence[Path], coder: _Coder
) -> tuple[TrainingData, list[Shot]]:
    """The pools of a run on a video codec, and the shots that are trained on."""
    card = models.card(recipe.model)
    if card.layout != "luma":
        raise InputError(
            f"{recipe.model} is an RGB model, and video codecs work on luma; "
            f"use --degradation jpeg, or the model {recipe.model}-luma"
        )
    if not trained_on and not clips:
        raise InputError("nothing to train on; give --images with a folder, --clips with videos, or both")
    mix = CodingMix(codecs=_CODECS[recipe.degradation], quality=recipe.qp)
    stretches = stretches_of(clip_files(clips), scale=recipe.clip_scale) if clips else []
    pans = pans_of(trained_on, repeats=recipe.pans, scales=recipe.pan_scales, seed=recipe.seed)
    tried = _validation_takes(recipe, chosen_on)
    moving, panned, *shown = coder.code(
        [_Take(stretches, mix, recipe.clip_repeats, recipe.seed), _Take(pans, mix, 1, recipe.seed), *tried.values()]
    )
    shots, temporal = [*moving, *panned], bool(card.pictures)
    _check_size(shots, recipe.patch_size)
    first = None
    if trained_on and recipe.jpeg_first > 0 and not recipe.start:
        first = _jpeg_pool(recipe, _read(trained_on, recipe), None)
    data = TrainingData(
        pool=coder.pool_of(shots, temporal=temporal),
        first=alone(first) if first is not None and temporal else first,
        validation={
            name: coder.pool_of(each, frames=VALIDATION_FRAMES, temporal=temporal)
            for name, each in zip(tried, shown, strict=True)
        },
    )
    return data, shots


def _validation_takes(recipe: Recipe, chosen_on: Sequence[Path]) -> dict[str, _Take]:
    """What is coded to be validated on, by codec and QP."""
    codecs = sorted(set(_CODECS[recipe.degradation]))
    takes = {}
    for turn, qp in enumerate(VALIDATION_QP):
        for number, codec in enumerate(codecs):
            # Where there are two codecs, each is tried on half of the pictures at each QP.
            pictures = chosen_on[(turn + number) % len(codecs) :: len(codecs)]
            if pictures and qp <= HIGHEST_QP[codec]:
                pans = pans_of(pictures, repeats=1, scales=(VALIDATION_SCALE,), seed=VALIDATION_SEED)
                mix = CodingMix(codecs=(codec,), quality=(qp, qp), constant=1, presets=("medium",))
                takes[f"{codec} {qp}"] = _Take(pans, mix, 1, VALIDATION_SEED)
    return takes


class _Take(NamedTuple):
    """Footage and how it is coded; see `code_shots`."""

    footage: Sequence[Footage]
    mix: CodingMix
    repeats: int
    seed: int


class _Coder:
    """Codes one take after the other, tells how far all of them are, and makes pools of what came out."""

    def __init__(
        self, recipe: Recipe, cache: Path, processes: Processes, on_progress: Callable[..., None] | None
    ) -> None:
        self._cache, self._processes, self._on_progress = cache, processes, on_progress
        self._threads = recipe.threads or max((os.cpu_count() or 1) // processes.local_count, 1)

    def code(self, takes: Sequence[_Take]) -> list[list[Shot]]:
        """Return the shots of each take."""
        total = sum(len(take.footage) for take in takes)
        before, shots = 0, []
        for take in takes:
            footage, mix, repeats, seed = take
            shots.append(
                code_shots(
                    footage,
                    mix,
                    repeats=repeats,
                    seed=seed,
                    cache=self._cache,
                    threads=self._threads,
                    processes=self._processes,
                    on_progress=self._telling(before, len(footage), total),
                )
            )
            before += len(footage)
        return shots

    def pool_of(
        self, shots: Sequence[Shot], *, frames: tuple[int, ...] | None = None, temporal: bool = False
    ) -> PatchPool:
        """Return a pool of frames of shots; with their neighbours where `temporal`."""
        pool = pool_of(shots, frames=frames)
        if not temporal:
            return pool
        path = self._processes.from_first(
            lambda: write_surrounded(shots, cache=self._cache, frames=frames, on_progress=self._on_progress)
        )
        return read_surrounded(path, pool)

    def _telling(self, before: int, count: int, total: int) -> Callable[..., None]:
        def tell(done: int, share: int) -> None:
            if self._on_progress is not None:
                self._on_progress(before + count * done // share, total)

        return tell


def _check_size(shots: Sequence[Shot], patch_size: int) -> None:
    smallest = min((shot.clean.shape[1:] for shot in shots), key=min, default=(patch_size,) * 2)
    if min(smallest) < patch_size:
        raise InputError(
            f"got footage of {smallest[1]}x{smallest[0]}, which holds no patch of {patch_size}x{patch_size}; "
            "leave out the smallest pictures and clips, or use a smaller --patch-size"
        )


def _jpeg_pool(recipe: Recipe, pictures: list[Samples], on_progress: Callable[..., None] | None) -> PatchPool:
    return jpeg_pool(
        pictures,
        layout=models.card(recipe.model).layout,
        qualities=recipe.jpeg_quality,
        scales=recipe.image_scales,
        mix=JpegMix(tables=recipe.jpeg_tables, sampling=recipe.jpeg_sampling, twice=recipe.jpeg_twice),
        seed=recipe.seed,
        on_progress=on_progress,
    )


def _read(paths: Sequence[Path], recipe: Recipe) -> list[Samples]:
    minimum = 2 * recipe.patch_size
    pictures = list(read_images(paths, minimum=minimum))
    if not pictures:
        raise InputError(
            f"all {len(paths)} images beside {paths[0] if paths else 'none'} are smaller than {minimum} samples; "
            "use larger ones, or a smaller --patch-size"
        )
    return pictures
