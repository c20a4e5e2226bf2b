"""Moving pictures through real encoders: pans over stills and real clips become degraded and clean frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from postfilter.errors import InputError
from postfilter.quality.codec import Codec, encode_decode, planes_of
from postfilter.training.degradation import pan, scaled, to_layout
from postfilter.training.pool import PatchPool, Samples

__all__ = ["CodedClips", "pans_of", "segments_of"]

PAN_FRAMES = 7
PAN_MARGIN = 48
SEGMENT_FRAMES = 16
SEGMENT_STRIDE = 48


@dataclass(frozen=True, kw_only=True)
class CodedClips:
    """Codes clips at random constant QPs, in parallel, the same for the same seed.

    Args:
        codecs: drawn from evenly.
        qp: lowest and highest QP, both included; two thirds of the way up is the most frequent.
        repeats: how often each clip is coded, each time anew.
        seed: decides codecs and QPs.
        threads: clips coded at a time, each by one thread of its encoder.
    """

    codecs: tuple[Codec, ...]
    qp: tuple[int, int]
    repeats: int
    seed: int
    threads: int

    def __call__(self, clips: Sequence[Samples], *, on_progress: Callable[..., None] | None = None) -> PatchPool:
        """Return every frame of every coded clip beside its source.

        Args:
            clips: luma, uint8 [T, H, W], sides even.
            on_progress: called as `on_progress(done, total)`.
        """
        jobs = [(index, repeat) for index in range(len(clips)) for repeat in range(self.repeats)]
        degraded: list[Samples] = []
        clean: list[Samples] = []
        with ThreadPoolExecutor(self.threads) as workers:
            coded = workers.map(lambda job: self._code(clips[job[0]], *job), jobs)
            for done, ((index, _), frames) in enumerate(zip(jobs, coded, strict=True), start=1):
                degraded.extend(frames[:, None])
                clean.extend(clips[index][:, None])
                if on_progress is not None:
                    on_progress(done, len(jobs))
        return PatchPool(degraded, clean)

    def _code(self, clip: Samples, index: int, repeat: int) -> Samples:
        rng = np.random.default_rng((self.seed, index, repeat))
        codec = self.codecs[int(rng.integers(len(self.codecs)))]
        low, high = self.qp
        # Half a step beyond both ends, so that rounding reaches the ends as often as their share of the triangle.
        qp = round(rng.triangular(low - 0.49, low + (high - low) * 2 / 3, high + 0.49))
        return encode_decode(clip, codec=codec, qp=qp, threads=1).frames


def pans_of(
    pictures: Sequence[Samples], *, seed: int, repeats: int = 1, scales: Sequence[float] = (1.0,)
) -> list[Samples]:
    """Make short luma clips of stills, each with its own motion.

    Args:
        pictures: R'G'B' uint8 [H, W, 3].
        seed: decides the motions.
        repeats: clips a picture.
        scales: sizes of the picture, taken in turn by its clips.

    Returns:
        Luma in limited range, as video has it, uint8 [7, H', W'], a margin smaller than the picture.
    """
    clips = []
    for index, picture in enumerate(pictures):
        for repeat in range(repeats):
            luma = _limited_range(to_layout(scaled(picture, scales[repeat % len(scales)]), "luma")[0])
            height, width = (max((side - PAN_MARGIN) & ~7, 64) for side in luma.shape)
            rng = np.random.default_rng((seed, index, repeat))
            clips.append(np.stack(pan(luma, rng, frames=PAN_FRAMES, size=(width, height))))
    return clips


def segments_of(path: Path, *, scale: float) -> Iterator[Samples]:
    """Yield evenly spaced stretches of a clip's luma.

    Args:
        path: any clip that PyAV opens, 8-bit 4:2:0.
        scale: size at which to use it. Half hides most of the artefacts that the clip itself came with.

    Yields:
        uint8 [16, H, W], sides even.

    Raises:
        InputError: the clip cannot be read or is of another format.
    """
    segment: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                if frame.format.name not in ("yuv420p", "yuvj420p"):
                    raise InputError(f"{path} is {frame.format.name}; training clips are 8-bit 4:2:0 (yuv420p)")
                if number % SEGMENT_STRIDE < SEGMENT_FRAMES:
                    segment.append(scaled(planes_of(frame)[0], scale))
                if len(segment) == SEGMENT_FRAMES:
                    yield np.stack(segment)
                    segment = []
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{path} is not a readable clip ({error}); remove it from the list") from error


def _limited_range(luma: Samples) -> Samples:
    """Full-range luma (0..255) as video carries it (16..235, ITU-R BT.601)."""
    return np.round(16 + luma.astype(np.float32) * (219 / 255)).astype(np.uint8)
