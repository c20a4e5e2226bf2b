"""Pictures through JPEG: pools of degraded and clean ones."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from postfilter.models import Layout
from postfilter.quality.images import jpeg_round_trip
from postfilter.runtime.further_inputs import BLOCK
from postfilter.training.pool import PatchPool, Samples
from postfilter.training.recipe import Sampling
from postfilter.training.stills import scaled, to_layout

__all__ = ["JpegMix", "jpeg_pool", "qp_of_jpeg"]

PRESETS = ("web_low", "web_medium", "web_high", "low", "medium", "high")
"""Of Photoshop, as Pillow has them; those above are hardly degraded."""
FIRST_QUALITIES = (50, 95)
"""Lowest and highest quality of a first compression: cameras and servers save at more than what a file ends at."""


@dataclass(frozen=True, kw_only=True)
class JpegMix:
    """How JPEG files come about besides at a quality; see `Recipe.jpeg_tables` and the fields that follow it there."""

    tables: float = 0.0
    sampling: tuple[Sampling, ...] = ("4:2:0",)
    twice: float = 0.0

    def round_trip(self, picture: Samples, *, quality: int, rng: np.random.Generator) -> tuple[Samples, int]:
        """Return a picture compressed and decoded, and the QP of that (see `qp_of_jpeg`).

        Args:
            picture: R'G'B' uint8 [H, W, 3].
            quality: libjpeg's, where no other tables are drawn.
            rng: decides what is drawn.
        """
        if self == JpegMix():
            return jpeg_round_trip(picture, quality=quality), qp_of_jpeg(quality)
        if rng.random() < self.twice:
            picture = _compressed_elsewhere(picture, rng)
        sampling = self.sampling[rng.integers(len(self.sampling))]
        if rng.random() < self.tables:
            return _by_preset(picture, PRESETS[rng.integers(len(PRESETS))], sampling)
        factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling.replace(':', '')}")
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        return _decoded(cv2.imencode(".jpg", picture[..., ::-1], options)[1]), qp_of_jpeg(quality)


def jpeg_pool(
    pictures: Sequence[Samples],
    *,
    layout: Layout,
    qualities: Sequence[int],
    scales: Sequence[float] = (1.0,),
    mix: JpegMix | None = None,
    seed: int = 0,
    on_progress: Callable[..., None] | None = None,
) -> PatchPool:
    """Compress every picture at every quality.

    Args:
        pictures: uint8 R'G'B' [H, W, 3], sides even.
        layout: of the samples in the pool.
        qualities: OpenCV's JPEG qualities.
        scales: sizes at which to use each picture; below 1 the source's own artefacts shrink and detail grows denser.
        mix: how else files come about; OpenCV's default 4:2:0 alone where None.
        seed: decides what is drawn of the mix.
        on_progress: called as `on_progress(done, total)`.
    """
    mix = mix or JpegMix()
    degraded: list[Samples] = []
    clean: list[Samples] = []
    levels: list[Samples] = []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, number))
        for scale in scales:
            resized = scaled(picture, scale)
            target = to_layout(resized, layout)
            for quality in qualities:
                compressed, qp = mix.round_trip(resized, quality=quality, rng=rng)
                degraded.append(to_layout(compressed, layout))
                clean.append(target)
                blocks = tuple(-(-side // BLOCK) for side in target.shape[1:])
                levels.append(np.full(blocks, qp, np.uint8))
        if on_progress is not None:
            on_progress(number + 1, len(pictures))
    return PatchPool(degraded, clean, levels)


def qp_of_jpeg(quality: int) -> int:
    """Return the QP, as H.264 and HEVC count it, whose step is that of the DC coefficient of luma at a JPEG quality.

    libjpeg scales the 16 of ITU-T T.81's example table (K.1) by 50 / quality below 50 and by 2 - quality / 50 above.
    """
    return _qp_of_step(16 * (50 / quality if quality < 50 else 2 - quality / 50))


def _qp_of_step(step: float) -> int:
    return min(round(4 + 6 * math.log2(max(step, 1))), 51)


def _by_preset(picture: Samples, preset: str, sampling: Sampling) -> tuple[Samples, int]:
    from PIL import Image
    from PIL.JpegPresets import presets

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", qtables=preset, subsampling=sampling)
    tables: Any = presets[preset]["quantization"]
    return _decoded(np.frombuffer(file.getvalue(), np.uint8)), _qp_of_step(tables[0][0])


def _compressed_elsewhere(picture: Samples, rng: np.random.Generator) -> Samples:
    """Compress a picture whose first block begins outside it."""
    top, left = (int(each) for each in rng.integers(8, size=2))
    larger = cv2.copyMakeBorder(picture, top, 0, left, 0, cv2.BORDER_REFLECT_101)
    quality = int(rng.integers(FIRST_QUALITIES[0], FIRST_QUALITIES[1] + 1))
    compressed = jpeg_round_trip(np.asarray(larger, np.uint8), quality=quality)
    return np.ascontiguousarray(compressed[top:, left:])


def _decoded(data: Samples) -> Samples:
    picture: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture[..., ::-1], np.uint8)
