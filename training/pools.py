"""What a recipe trains and validates on: from folders and clips to pools of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postfilter import models
from postfilter.errors import InputError
from postfilter.quality.clips import clip_files
from postfilter.quality.images import image_files
from postfilter.runtime.sealed import user_cache
from postfilter.training.coding import CodecName
from postfilter.training.data import jpeg_pool, read_images
from postfilter.training.footage import pans_of, stretches_of
from postfilter.training.pool import PatchPool, Samples
from postfilter.training.recipe import Degradation, Recipe
from postfilter.training.shots import CodingMix, Shot, code_shots

__all__ = ["TrainingData", "load_data"]

VALIDATION_PICTURES = 10
VALIDATION_QUALITIES = (10, 20, 40)
VALIDATION_QP = (22, 27, 32, 37, 42)
# Fixed, so that every run of every recipe is validated on the same frames.
VALIDATION_SEED = 5
VALIDATION_FRAMES = (2, 5)
VALIDATION_SCALE = 0.7

_CODECS: dict[Degradation, tuple[CodecName, ...]] = {
    "h264": ("h264",),
    "hevc": ("hevc",),
    "mixed": ("h264", "hevc", "hevc"),
}


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The pools of one run."""

    pool: PatchPool
    """What is trained on."""
    first: PatchPool | None
    """JPEG pictures for the first share of a run on a video codec (`Recipe.jpeg_first`)."""
    validation: Mapping[str, PatchPool]
    """What the weights are chosen on, by codec and quality, such as `hevc 37`; each counts the same."""


def load_data(
    recipe: Recipe,
    *,
    images: Sequence[Path] = (),
    clips: Sequence[Path] = (),
    validation: Path | None = None,
    cache: Path | None = None,
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
    return _video_data(recipe, paths, held_out, clips, cache or user_cache() / "shots", on_progress)


def _jpeg_data(
    recipe: Recipe,
    trained_on: Sequence[Path],
    chosen_on: Sequence[Path],
    clips: Sequence[Path],
    on_progress: Callable[..., None] | None,
) -> TrainingData:
    if clips:
        raise InputError("clips train filters for video codecs; use --degradation h264, hevc or mixed with --clips")
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
    recipe: Recipe,
    trained_on: Sequence[Path],
    chosen_on: Sequence[Path],
    clips: Sequence[Path],
    cache: Path,
    on_progress: Callable[..., None] | None,
) -> TrainingData:
    if models.card(recipe.model).layout != "luma":
        raise InputError(
            f"{recipe.model} is an RGB model, and video codecs work on luma; "
            f"use --degradation jpeg, or the model {recipe.model}-luma"
        )
    if not trained_on and not clips:
        raise InputError("nothing to train on; give --images with a folder, --clips with videos, or both")
    threads = recipe.threads or os.cpu_count() or 1
    mix = CodingMix(codecs=_CODECS[recipe.degradation], quality=recipe.qp)
    stretches = stretches_of(clip_files(clips), scale=recipe.clip_scale) if clips else []
    pans = pans_of(trained_on, repeats=recipe.pans, scales=recipe.pan_scales, seed=recipe.seed)
    shots = [
        shot
        for footage, repeats in ((stretches, recipe.clip_repeats), (pans, 1))
        for shot in code_shots(
            footage,
            mix,
            repeats=repeats,
            seed=recipe.seed,
            cache=cache,
            threads=threads,
            on_progress=on_progress,
        )
    ]
    jpeg_first = bool(trained_on) and recipe.jpeg_first > 0 and not recipe.start
    return TrainingData(
        pool=_pool(shots, frames=None),
        first=_jpeg_pool(recipe, _read(trained_on, recipe), None) if jpeg_first else None,
        validation=_video_validation(recipe, chosen_on, cache=cache, threads=threads),
    )


def _video_validation(recipe: Recipe, chosen_on: Sequence[Path], *, cache: Path, threads: int) -> dict[str, PatchPool]:
    codecs = sorted(set(_CODECS[recipe.degradation]))
    pools = {}
    for turn, qp in enumerate(VALIDATION_QP):
        for number, codec in enumerate(codecs):
            # Where there are two codecs, each is tried on half of the pictures at each QP.
            pictures = chosen_on[(turn + number) % len(codecs) :: len(codecs)]
            if not pictures:
                continue
            shots = code_shots(
                pans_of(pictures, repeats=1, scales=(VALIDATION_SCALE,), seed=VALIDATION_SEED),
                CodingMix(codecs=(codec,), quality=(qp, qp), constant=1, presets=("medium",)),
                repeats=1,
                seed=VALIDATION_SEED,
                cache=cache,
                threads=threads,
            )
            pools[f"{codec} {qp}"] = _pool(shots, frames=VALIDATION_FRAMES)
    return pools


def _pool(shots: Sequence[Shot], *, frames: tuple[int, ...] | None) -> PatchPool:
    chosen = [(shot, index) for shot in shots for index in frames or range(len(shot.clean)) if index < len(shot.clean)]
    return PatchPool(
        [shot.degraded[index][None] for shot, index in chosen],
        [shot.clean[index][None] for shot, index in chosen],
        [shot.qp[index] for shot, index in chosen],
    )


def _jpeg_pool(recipe: Recipe, pictures: list[Samples], on_progress: Callable[..., None] | None) -> PatchPool:
    return jpeg_pool(
        pictures,
        layout=models.card(recipe.model).layout,
        qualities=recipe.jpeg_quality,
        scales=recipe.image_scales,
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
