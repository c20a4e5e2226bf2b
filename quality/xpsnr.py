"""XPSNR: PSNR weighted by how well an error is seen, by FFmpeg's own filter.

C. R. Helmrich, M. Siekmann, S. Becker, S. Bosse, D. Marpe and T. Wiegand, "XPSNR: A Low-Complexity Extension of the
Perceptually Weighted Peak Signal-to-Noise Ratio for High-Resolution Video Quality Assessment", ICASSP 2020. Errors
count less where the source is busy, in space or in time.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import MissingDependencyError
from postfilter.quality.codec import view
from postfilter.quality.metrics import PSNR_OF_IDENTICAL_DB

__all__ = ["Xpsnr", "check_xpsnr"]

Luma: TypeAlias = NDArray[np.uint8]


def check_xpsnr() -> None:
    """Refuse an FFmpeg without the filter, before time is spent on anything else.

    Raises:
        MissingDependencyError: FFmpeg has it since 7.1.
    """
    import av.filter

    if "xpsnr" not in av.filter.filters_available:
        cause = ImportError("its FFmpeg has no filter xpsnr")
        raise MissingDependencyError("av", "XPSNR", None, cause, remedy="install a wheel of av, 14.1 or newer")


class Xpsnr:
    """Compares the luma of one clip with its source, frame by frame in order: the weights look back in time.

    Args:
        fps: frames a second; from 32 on the weights look two frames back.
    """

    def __init__(self, *, fps: Fraction) -> None:
        self._fps = fps
        self._count = 0
        self._ends: tuple[Any, Any, Any] | None = None

    def __call__(self, shown: Luma, source: Luma) -> float:
        """Return the XPSNR of a frame, in dB; `PSNR_OF_IDENTICAL_DB` where it is the source.

        Args:
            shown: uint8 [H, W].
            source: the same shape.
        """
        wanted, compared, result = self._ends or self._open(*source.shape)
        wanted.push(self._frame(source))
        compared.push(self._frame(shown))
        self._count += 1
        told = float(result.pull().metadata["lavfi.xpsnr.xpsnr.y"])
        return min(told, PSNR_OF_IDENTICAL_DB)

    def _open(self, height: int, width: int) -> tuple[Any, Any, Any]:
        import av.filter

        graph: Any = av.filter.Graph()
        # Not add_buffer, which leaves out the frame rate.
        form = f"video_size={width}x{height}:pix_fmt=gray:time_base={1 / self._fps}:frame_rate={self._fps}"
        wanted, compared = graph.add("buffer", form), graph.add("buffer", form)
        filter_, result = graph.add("xpsnr"), graph.add("buffersink")
        # The filter takes the source first: its weights are those of the first input.
        wanted.link_to(filter_, 0, 0)
        compared.link_to(filter_, 0, 1)
        filter_.link_to(result)
        graph.configure()
        self._graph = graph
        self._ends = wanted, compared, result
        return self._ends

    def _frame(self, luma: Luma) -> Any:
        import av

        frame = av.VideoFrame(luma.shape[1], luma.shape[0], "gray")
        view(frame.planes[0])[:] = luma
        frame.pts, frame.time_base = self._count, 1 / self._fps
        return frame
