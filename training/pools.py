"""What a recipe trains and validates on: from folders and clips to pools of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from postfilter import models
from postfilter.errors import InputError
from postfilter.quality.clips import clip_files
from postfilter.quality.codec import Codec
from postfilter.quality.images import image_files
from postfilter.training.clips import PAN_FRAMES, CodedClips, pans_of, segments_of
from postfilter.training.data import jpeg_pool, read_images
from postfilter.training.pool import PatchPool, Samples
from postfilter.training.recipe import Degradation, Recipe

__all__ = ["TrainingData", "load_data"]

VALIDATION_PICTURES = 10
VALIDATION_QUALITIES = (10, 20, 40)
VALIDATION_QP = (32, 40)
# Fixed, so that every run of every recipe is validated on the same frames.
VALIDATION_SEED = 5
VALIDATION_FRAMES_OF_A_PAN = (1, 4)

_CODECS: dict[Degradation, tuple[Codec, ...]] = {"h264": ("h264",), "hevc": ("hevc",), "mixed": ("h264", "hevc")}


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The pools of one run."""

    pool: PatchPool
    """What is trained on."""
    first: PatchPool | None
    """JPEG pictures for the first share of a run on a video codec (`Recipe.jpeg_first`)."""
    validation: PatchPool
    """What the weights are chosen on."""


def load_data(
    recipe: Recipe,
    *,
    images: Path | None,
    clips: Sequence[Path] = (),
    validation: Path | None = None,
    on_progress: Callable[..., None] | None = None,
) -> TrainingData:
    """Read and degrade what a recipe trains on and chooses on.

    Args:
        recipe: decides the degradation and the seed.
        images: a folder of pictures; stills are panned over where the degradation is a video codec.
        clips: 8-bit 4:2:0 clips, or folders of them, for video codecs only.
        validation: a folder of pictures to choose on, about ten of them, evenly spaced; where None, that many of
            `images` are held out.
        on_progress: called as `on_progress(done, total)`.

    Raises:
        InputError: nothing to train or to choose on, an unreadable file, or an RGB model with a video codec.
    """
    if images is None and validation is None:
        raise InputError("no pictures to choose the weights on; give --images or --validation with a folder of them")
    minimum = 2 * recipe.patch_size
    paths = image_files(images) if images is not None else []
    candidates = image_files(validation) if validation is not None else paths
    # Of a few pictures to train on no more than every fifth is held out.
    step = max(1 if validation is not None else 5, len(candidates) // VALIDATION_PICTURES)
    held_out = candidates[::step]
    chosen_on = _read(held_out, minimum=minimum)
    if validation is None:
        paths = sorted(set(paths) - set(held_out))
    trained_on = _read(paths, minimum=minimum) if paths else []
    if recipe.degradation == "jpeg":
        return _jpeg_data(recipe, trained_on, chosen_on, clips, on_progress)
    return _video_data(recipe, trained_on, chosen_on, clips, on_progress)


def _jpeg_data(
    recipe: Recipe,
    trained_on: list[Samples],
    chosen_on: list[Samples],
    clips: Sequence[Path],
    on_progress: Callable[..., None] | None,
) -> TrainingData:
    if clips:
        raise InputError("clips train filters for video codecs; use --degradation h264, hevc or mixed with --clips")
    layout = models.card(recipe.model).layout
    pool = _jpeg_pool(recipe, trained_on, on_progress)
    validation = jpeg_pool(chosen_on, layout=layout, qualities=VALIDATION_QUALITIES)
    return TrainingData(pool=pool, first=None, validation=validation)


def _video_data(
    recipe: Recipe,
    trained_on: list[Samples],
    chosen_on: list[Samples],
    clips: Sequence[Path],
    on_progress: Callable[..., None] | None,
) -> TrainingData:
    if models.card(recipe.model).layout != "luma":
        raise InputError(
            f"{recipe.model} is an RGB model, and video codecs work on luma; "
            f"use --degradation jpeg, or the model {recipe.model}-luma"
        )
    segments = [
        segment
        for path in (clip_files(clips) if clips else ())
        for segment in segments_of(path, scale=recipe.clip_scale)
    ]
    pans = pans_of(trained_on, seed=recipe.seed + 2, repeats=recipe.pans, scales=recipe.pan_scales)
    pools = []
    for moving, repeats, seed in ((segments, recipe.clip_repeats, recipe.seed + 1), (pans, 1, recipe.seed)):
        if moving:
            code = _coder(recipe, qp=recipe.qp, repeats=repeats, seed=seed)
            pools.append(code(moving, on_progress=on_progress))
    if not pools:
        raise InputError("nothing to train on; give --images with a folder, --clips with videos, or both")
    coded = _coder(recipe, qp=VALIDATION_QP, repeats=1, seed=VALIDATION_SEED)(pans_of(chosen_on, seed=VALIDATION_SEED))
    kept = [index for index in range(len(coded.clean)) if index % PAN_FRAMES in VALIDATION_FRAMES_OF_A_PAN]
    return TrainingData(
        pool=pools[0] if len(pools) == 1 else pools[0] + pools[1],
        first=_jpeg_pool(recipe, trained_on, None) if trained_on and recipe.jpeg_first and not recipe.start else None,
        validation=PatchPool([coded.degraded[index] for index in kept], [coded.clean[index] for index in kept]),
    )


def _jpeg_pool(recipe: Recipe, pictures: list[Samples], on_progress: Callable[..., None] | None) -> PatchPool:
    return jpeg_pool(
        pictures,
        layout=models.card(recipe.model).layout,
        qualities=recipe.jpeg_quality,
        scales=recipe.image_scales,
        on_progress=on_progress,
    )


def _coder(recipe: Recipe, *, qp: tuple[int, int], repeats: int, seed: int) -> CodedClips:
    codecs = _CODECS[recipe.degradation]
    return CodedClips(codecs=codecs, qp=qp, repeats=repeats, seed=seed, threads=recipe.threads or 2)


def _read(paths: Sequence[Path], *, minimum: int) -> list[Samples]:
    pictures = list(read_images(paths, minimum=minimum))
    if not pictures:
        raise InputError(
            f"all {len(paths)} images beside {paths[0] if paths else 'none'} are smaller than {minimum} samples; "
            "use larger ones, or a smaller --patch-size"
        )
    return pictures
