"""What is measured of each frame of a clip, and what of that makes a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.flicker import Motion
from postfilter.quality.metrics import finite_psnr, ssim
from postfilter.quality.vmaf import Vmaf, check_vmaf
from postfilter.quality.xpsnr import Xpsnr, check_xpsnr

__all__ = ["METRICS", "ClipMeter", "Metric", "SourceMotion", "check_metrics", "figures_of"]

Metric = Literal["psnr", "ssim", "xpsnr", "vmaf", "flicker"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""PSNR is always measured. XPSNR costs little; flicker, and more so SSIM, cost about what a light filter does."""
Luma: TypeAlias = NDArray[np.uint8]


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse what cannot be measured here, before time is spent on anything else.

    Raises:
        InputError: an unknown metric.
        MissingDependencyError: this FFmpeg has no filter for it.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise InputError(f"got the metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    if "xpsnr" in metrics:
        check_xpsnr()
    if "vmaf" in metrics:
        check_vmaf()


class SourceMotion:
    """The motion of a source that comes frame by frame; found once for all that is compared with it."""

    def __init__(self) -> None:
        self._before: Luma | None = None

    def step(self, source: Luma) -> Motion | None:
        """Return the motion from the frame before to this one; None of the first."""
        before, self._before = self._before, source
        return None if before is None else Motion(before, source)


class ClipMeter:
    """Measures one version of a clip, decoded or filtered, frame by frame.

    Args:
        metrics: which besides PSNR.
        fps: frames a second.
    """

    def __init__(self, metrics: Sequence[Metric], *, fps: Fraction) -> None:
        self.series: dict[str, list[float]] = defaultdict(list)
        """Metric -> its value of each frame; `flicker` lacks the first."""
        self._ssim, self._flicker = "ssim" in metrics, "flicker" in metrics
        self._xpsnr = Xpsnr(fps=fps) if "xpsnr" in metrics else None
        self._vmaf = Vmaf(fps=fps) if "vmaf" in metrics else None
        self._before: Luma | None = None

    def take(self, shown: Luma, source: Luma, motion: Motion | None) -> None:
        """Measure a frame, uint8 [H, W], against its source; `motion` is that of `SourceMotion`."""
        self.series["psnr"].append(finite_psnr(shown, source))
        if self._ssim:
            self.series["ssim"].append(ssim(shown, source))
        if self._xpsnr:
            self.series["xpsnr"].append(self._xpsnr(shown, source))
        if self._vmaf:
            self._vmaf.take(shown, source)
        if self._flicker:
            if motion is not None and self._before is not None:
                self.series["flicker"].append(motion.flicker(self._before, shown))
            self._before = shown

    def finish(self) -> None:
        """Take in what is known at the end alone."""
        if self._vmaf:
            self.series["vmaf"] = self._vmaf.finish()

    def close(self) -> None:
        """Let go of what runs beside."""
        if self._vmaf:
            self._vmaf.close()


def figures_of(decoded: ClipMeter, filtered: ClipMeter) -> dict[str, Any]:
    """Return what a row says of a clip: the mean of each metric over its frames, and how PSNR goes up and down.

    `psnr_sd_*` is the standard deviation of the frames' PSNR: the quality fluctuation that MFQE 2.0 reports (Guan et
    al., TPAMI 2021). `worst_frame` counts from 0.
    """
    deltas = np.subtract(filtered.series["psnr"], decoded.series["psnr"])
    figures: dict[str, Any] = {}
    for metric in METRICS:
        before, after = (meter.series.get(metric) for meter in (decoded, filtered))
        if before and after:
            figures[f"{metric}_decoded"] = float(np.mean(before))
            figures[f"{metric}_filtered"] = float(np.mean(after))
            figures[f"delta_{metric}"] = float(np.mean(np.subtract(after, before)))
    return figures | {
        "worst_frame": int(deltas.argmin()),
        "worst_frame_delta_psnr": float(deltas.min()),
        "psnr_sd_decoded": float(np.std(decoded.series["psnr"])),
        "psnr_sd_filtered": float(np.std(filtered.series["psnr"])),
    }
