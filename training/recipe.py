"""Everything that decides what a training run does, in one object that is written beside the weights."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal

from postfilter.errors import InputError

__all__ = ["DEGRADATIONS", "SAMPLINGS", "Degradation", "Recipe", "Sampling"]

Degradation = Literal["jpeg", "h264", "hevc", "mixed", "mpeg2", "av1", "all"]
DEGRADATIONS: tuple[Degradation, ...] = ("jpeg", "h264", "hevc", "mixed", "mpeg2", "av1", "all")
Sampling = Literal["4:2:0", "4:2:2", "4:4:4"]
SAMPLINGS: tuple[Sampling, ...] = ("4:2:0", "4:2:2", "4:4:4")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one model. The same recipe, seed and data give the same weights on the same machine."""

    model: str
    """A name of `postfilter.models.names()`."""
    degradation: Degradation
    """What makes the artefacts; `mixed` is H.264 and, twice as often, HEVC, whose artefacts are fainter; `all` is that
    and MPEG-2 and AV1."""
    jpeg_quality: tuple[int, ...] = (10, 10, 15, 20, 30, 40)
    """OpenCV's JPEG qualities, each as often as it is listed."""
    jpeg_tables: float = 0.0
    """Share of JPEG pictures quantized by the tables of Photoshop's presets instead, whatever the quality."""
    jpeg_sampling: tuple[Sampling, ...] = ("4:2:0",)
    """Chroma sampling of JPEG pictures, each as often as it is listed."""
    jpeg_twice: float = 0.0
    """Share of JPEG pictures compressed once before, on blocks that lie elsewhere: cropped and saved again."""
    image_scales: tuple[float, ...] = (1.0, 0.7)
    """Sizes at which stills are compressed; below 1 their own artefacts shrink and detail grows denser."""
    qp: tuple[int, int] = (20, 47)
    """Lowest and highest constant quantization parameter for H.264 and HEVC, both included, all equally often."""
    blind: float = 0.2
    """Share of the patches that a model which reads the QP is not told it for."""
    start: str | None = None
    """Model or file whose weights the run starts from; None for random ones."""
    jpeg_first: float = 0.1
    """Share of a run on a video codec that is spent on JPEG pictures first, where it starts from random weights. The
    errors of inter-coded frames are faint: the best filters remove a twentieth of them, too little for a random network
    to find a direction in."""
    pans: int = 6
    """Short clips made of each still, in turn at each of `pan_scales`."""
    pan_scales: tuple[float, ...] = (1.0, 0.7, 0.5, 1.0, 0.5, 0.4)
    """Sizes of the stills for pans; small ones stand for dense detail such as print and far foliage."""
    clip_scale: float = 0.5
    """Size at which clips are used; half hides most of the artefacts that they themselves came with."""
    clip_repeats: int = 8
    """How often each stretch of a clip is coded, each time with another codec and QP."""
    harm: float = 0.0
    """Weight of making patches worse, beside making them better; on video only."""
    patch_size: int = 64
    """Side of a square training patch, in samples."""
    batch_size: int = 32
    """Patches a step."""
    teacher: str | None = None
    """Model whose corrections are learned before the clean pictures: they are without the noise of what no filter can
    know, which is twenty times what the best can."""
    teacher_weights: str | None = None
    """File of the teacher's weights; those in the package where None."""
    distil: float = 0.6
    """Share of a run with a teacher that is spent on its corrections, behind the JPEG pictures."""
    lr: float = 1e-3
    """Muon's learning rate on video after the warm-up; falls to a hundredth of it along a cosine, as do the others."""
    lr_taught: float = 0.01
    """The same under a teacher."""
    lr_jpeg: float = 0.02
    """The same on JPEG pictures."""
    steps: int | None = 40_000
    """Optimizer steps; exactly one of `steps` and `minutes` is set."""
    minutes: float | None = None
    """Wall time to train for, pauses between resumed runs left out."""
    ema: float = 0.999
    """Decay a step of the running average of the weights, which is what is validated and saved."""
    deblocking: float = 0.25
    """Weight of the block edges that remain, on JPEG pictures; PSNR-B itself weighs them about 0.2."""
    augmentation: bool = True
    """Flips and quarter turns of the patches."""
    threads: int | None = None
    """CPU threads; None leaves it to torch."""
    seed: int = 0
    """Of the initial weights, the degradation and the order of the patches."""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if (self.steps is None) == (self.minutes is None):
            raise InputError("a training run needs either a number of steps or of minutes, and not both")
        if self.degradation not in DEGRADATIONS:
            raise InputError(f"unknown degradation {self.degradation!r}; known: {', '.join(DEGRADATIONS)}")
        if not all(0 < scale <= 1 for scale in (*self.image_scales, *self.pan_scales, self.clip_scale)):
            raise InputError("scales of images, pans and clips must lie above 0 and at most at 1")
        if not (0 <= self.jpeg_first < 1 and 0 <= self.blind <= 1):
            raise InputError(
                "the share of JPEG pictures must be at least 0 and below 1, the share of blind patches 0 to 1; "
                f"got {self.jpeg_first} and {self.blind}"
            )
        if not (self.distil >= 0 and self.jpeg_first + self.distil < 1):
            raise InputError(
                "the shares of a run for JPEG pictures and for a teacher must leave some for the clean pictures; got "
                f"{self.jpeg_first} and {self.distil}"
            )
        if self.teacher is not None and self.degradation == "jpeg":
            raise InputError("a teacher helps on video codecs, whose artefacts are faint; leave out --teacher")
        if not (0 <= self.jpeg_tables <= 1 and 0 <= self.jpeg_twice <= 1):
            raise InputError(
                "the shares of JPEG pictures with other tables and of those compressed twice must be 0 to 1; "
                f"got {self.jpeg_tables} and {self.jpeg_twice}"
            )
        if not self.jpeg_sampling or not set(self.jpeg_sampling) <= set(SAMPLINGS):
            raise InputError(f"chroma sampling must be of {', '.join(SAMPLINGS)}; got {list(self.jpeg_sampling)}")
        bad = [quality for quality in self.jpeg_quality if not 1 <= quality <= 100]
        if bad or not self.jpeg_quality:
            raise InputError(f"JPEG quality must be 1 to 100, got {list(self.jpeg_quality)}")
        if not 0 <= self.qp[0] <= self.qp[1] <= 51:
            raise InputError(f"QP range must lie in 0 to 51 with the lower end first, got {self.qp}")
        if self.patch_size < 16 or self.patch_size % 8:
            raise InputError(f"patch size must be a multiple of 8 and at least 16, got {self.patch_size}")
        if (
            self.batch_size < 1
            or min(self.lr, self.lr_taught, self.lr_jpeg) <= 0
            or self.deblocking < 0
            or self.harm < 0
            or (self.steps or 1) < 1
            or (self.minutes or 1) <= 0
        ):
            raise InputError("batch size, learning rates, steps and minutes must be positive")

    def for_epochs(self, epochs: float, *, samples: int) -> Recipe:
        """The same recipe, as long as it takes to draw `epochs` times as many samples as there are to draw from."""
        if not 0 < epochs < math.inf:
            raise InputError(f"epochs must be positive, got {epochs}")
        steps = math.ceil(epochs * samples / (self.batch_size * self.patch_size**2))
        return replace(self, steps=steps, minutes=None)

    def as_json(self) -> dict[str, Any]:
        """The recipe as JSON would hold it (tuples as lists), for the run folder and the card."""
        return _json(asdict(self))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The fields that have a default, as `as_json` has them."""
        return _json({each.name: each.default for each in fields(cls) if each.default is not MISSING})


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
