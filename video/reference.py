"""ΔPSNR against the clip's undegraded source, measured while it is filtered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from postfilter.errors import InputError
from postfilter.quality.metrics import finite_psnr
from postfilter.video.pixels import Plane, plane_view
from postfilter.video.reading.source import ClipInfo, Source

__all__ = ["Reference", "VideoQuality"]


@dataclass(frozen=True, kw_only=True)
class VideoQuality:
    """Luma PSNR in dB against the source: of each frame, averaged over the frames, before encoding anew."""

    psnr_decoded: float
    psnr_filtered: float
    delta_psnr: float
    """psnr_filtered - psnr_decoded."""


class Reference:
    """The source of a clip, read along with it.

    Args:
        path: the source clip.
        clip: the clip that is filtered.

    Raises:
        InputError: the source cannot be read, or is of another size, bit depth or range.
    """

    def __init__(self, path: str | Path, clip: ClipInfo) -> None:
        self._source = Source(path)
        self._frames = self._source.frames()
        self._count = 0
        self._decoded = self._filtered = 0.0
        self.clip = clip
        ours, theirs = _what_must_agree(clip), _what_must_agree(self._source.info)
        if ours != theirs:
            self._source.close()
            raise InputError(
                f"the reference {path} is {theirs}, the input is {ours}; PSNR compares sample by sample: give the "
                "source as it was before encoding"
            )

    def begin_at(self, frame: int, *, psnr_decoded: float, psnr_filtered: float) -> None:
        """Leave out the first frames, of which the sums of PSNR are known from an earlier run.

        Raises:
            InputError: the source ends before the clip.
        """
        for self._count in range(1, frame + 1):
            if next(self._frames, None) is None:
                raise InputError(self._other_count(f"only {self._count - 1} frames"))
        self._decoded, self._filtered = psnr_decoded, psnr_filtered

    def measure(self, decoded: Plane, filtered: Plane) -> tuple[float, float]:
        """Compare the next frame of the source with the two luma planes, [H, W]; return the PSNR of each in dB.

        Raises:
            InputError: the source ends before the clip.
        """
        frame = next(self._frames, None)
        if frame is None:
            raise InputError(self._other_count(f"only {self._count} frames"))
        source, peak = plane_view(frame, 0), float(self.clip.format.peak)
        psnr = finite_psnr(decoded, source, peak=peak), finite_psnr(filtered, source, peak=peak)
        self._count += 1
        self._decoded += psnr[0]
        self._filtered += psnr[1]
        return psnr

    def result(self) -> VideoQuality:
        """Return the averages over all frames.

        Raises:
            InputError: the source goes on after the clip.
        """
        if next(self._frames, None) is not None:
            raise InputError(self._other_count(f"more than the input's {self._count} frames"))
        decoded, filtered = self._decoded / self._count, self._filtered / self._count
        return VideoQuality(psnr_decoded=decoded, psnr_filtered=filtered, delta_psnr=filtered - decoded)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _other_count(self, got: str) -> str:
        return f"the reference {self._source.path} has {got}; give the source of this very clip, frame for frame"


def _what_must_agree(clip: ClipInfo) -> str:
    spread = "full" if clip.full_range else "limited"
    return f"{clip.width}x{clip.height}, {clip.bit_depth} bits, {spread} range"
