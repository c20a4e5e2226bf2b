"""A clip that came coded, beside its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.clips import open_clip
from postfilter.quality.codec import Planes, QpWatch, Watcher

if TYPE_CHECKING:
    import av

__all__ = ["CodedFile"]


class CodedFile:
    """Decodes a file as it is; a `Coding` as `RoundTrip` is.

    Args:
        path: of the coded clip, 8-bit 4:2:0, whose frames are those of the source.
        qp: what it was coded at, for the rows.
        watch: makes what `qp_of` asks, of the track; None where nobody asks.

    Raises:
        InputError: it is no video.
    """

    def __init__(self, path: Path, *, qp: int, watch: Watcher | None = None) -> None:
        self.path, self.qp = path, qp
        with open_clip(path) as container:
            stream = container.streams.video[0]
            self.codec = str(stream.codec_context.codec.canonical_name)
            self._fps = float(stream.average_rate or 25)
        self._make_watch = watch
        self._watch: QpWatch | None = None
        self._bytes = self._frames = 0

    @property
    def kbps(self) -> float:
        """Bit rate of what was decoded, in kilobits (1000) a second."""
        return self._bytes * 8 / 1000 * self._fps / max(self._frames, 1)

    def __call__(self, frames: Iterator[Planes]) -> Iterator[av.VideoFrame]:
        """Yield the decoded frames, as many as there are sources, each after its source was taken.

        Raises:
            InputError: it is damaged.
        """
        import av

        with open_clip(self.path) as container:
            stream = container.streams.video[0]
            self._watch = self._make_watch(stream) if self._make_watch else None
            try:
                for packet in container.demux(stream):
                    self._bytes += packet.size
                    if self._watch is not None:
                        self._watch.take(packet)
                    for frame in packet.decode():
                        if next(frames, None) is None:
                            return
                        self._frames += 1
                        yield frame
            except av.FFmpegError as error:
                raise InputError(f"{self.path} is damaged after {self._frames} frames ({error})") from error

    def qp_of(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the QP of a frame that was just yielded; None where it is not told, or not watched."""
        return None if self._watch is None else self._watch.of(frame)
