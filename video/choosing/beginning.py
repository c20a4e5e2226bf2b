"""The first frames of a clip: what decoding and encoding them takes, how coarsely they were coded, and filtering them.

All times are the processor's, of all threads together: they say what the cores allow, whatever else runs meanwhile.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import av

from postfilter.errors import PostfilterError
from postfilter.runtime.changes import changed_cells
from postfilter.runtime.measure import sample_frames
from postfilter.video.filtering.guard import Guard, GuardMode
from postfilter.video.filtering.planes import planes_for
from postfilter.video.filtering.qp_skip import QpSteering
from postfilter.video.filtering.stage import FrameFilter
from postfilter.video.reading.source import Source
from postfilter.video.writing.encoder import EncoderSettings, add_encoder

if TYPE_CHECKING:
    from postfilter.runtime import Engine
    from postfilter.video.frame import Frame

__all__ = ["Beginning", "engine_seconds"]

_FRAMES = 24
"""Enough to hold frames of every type, and to see what stands still."""
_BYTES = 96 << 20
"""Of decoded frames that are held: fewer of them where they are large."""
_SECONDS = 2.0
"""After which no further frame is filtered to see how long it takes."""
_ENGINE_SECONDS = 0.5
_FEWEST = 3

_Item = TypeVar("_Item")


class Beginning:
    """The first frames of a clip, decoded, and encoded as the filtered ones shall be.

    Args:
        path: the clip.
        encoding: how the output is encoded; None where nothing is written.
        hwaccel: the device that decodes; its decoders do not tell the QP.

    Raises:
        InputError: the clip cannot be read.
        DeviceError: the device that is to decode is not there, or does not decode this codec.
        OutputError: the encoder cannot take the clip.
    """

    def __init__(self, path: Path, *, encoding: EncoderSettings | None, hwaccel: str | None) -> None:
        self._source = Source(path, qp=hwaccel is None, hwaccel=hwaccel)
        self.info = self._source.info
        self.codec = self._source.codec
        """FFmpeg's name of the codec that the clip was coded with."""
        self._frames: list[Frame] = []
        size = sum(plane.nbytes for plane in self._source.frame_of(self._source.first).planes)
        begun = time.process_time()
        # What is wrong further on is for the run to tell.
        with suppress(PostfilterError):
            for picture in islice(self._source.frames(), max(_FEWEST, min(_FRAMES, _BYTES // size))):
                self._frames.append(self._source.frame_of(picture))
        count = max(1, len(self._frames))
        self.decode_seconds = (time.process_time() - begun) / count
        """A frame."""
        self.encode_seconds = 0.0 if encoding is None else self._encode(encoding) / count
        """A frame."""

    @property
    def qp(self) -> float | None:
        """The mean QP of the frames; None where it is not known."""
        known = [float(each.qp.mean()) for each in self._frames if each.qp is not None]
        return statistics.fmean(known) if known else None

    def changing(self) -> float:
        """Return the share of luma that changes from frame to frame, 0..1.

        It has to be filtered where the rest is taken from the frame before.
        """
        luma = [each.planes[0][None, None] for each in self._frames]
        shares = [float(changed_cells(*pair).mean()) for pair in pairwise(luma) if pair[0].shape == pair[1].shape]
        return statistics.fmean(shares) if shares else 1.0

    def filter_seconds(
        self, engine: Engine, *, skip_below_qp: float | None, tile_reuse: bool, guard: GuardMode
    ) -> float:
        """Return what filtering takes a frame, with all that goes with it.

        Args:
            engine: loaded for the clip's bit depth.
            skip_below_qp: as for `filter_video`, as the others.
            tile_reuse: see above.
            guard: see above; nothing is redone.

        Raises:
            InputError: the engine does not fit the clip.
            PostfilterError: it fails.
        """
        info = self.info
        fields = 2 if info.interlaced else 1
        engine.prepare(width=info.width, height=-(-info.height // fields), frames=fields, stream=True)
        with Guard(engine, mode="off" if guard == "off" else "warn") as checks:
            filtering = FrameFilter(
                engine,
                planes_for(info, engine),
                steering=QpSteering(self._source, engine, skip_below=skip_below_qp),
                guard=checks,
                reuse=tile_reuse,
            )
            filtering.rehearse(each.copy() for each in self._frames[:_FEWEST])
            copies = [each.copy() for each in self._frames]  # the filter writes into what it is given
            begun = time.process_time()
            count = sum(1 for _ in filtering.stream(_until(copies, _SECONDS)))
            return (time.process_time() - begun) / max(1, count)

    def __enter__(self) -> Beginning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._frames.clear()
        self._source.close()

    def _encode(self, settings: EncoderSettings) -> float:
        """Encode the frames, for nobody; return what it took. What the encoder refuses later, the run will tell."""
        with av.open(io.BytesIO(), "w", format="matroska") as container:
            track = add_encoder(container, settings, self.info, self._source.first, [])
            begun = time.process_time()
            with suppress(av.FFmpegError, ValueError):
                for each in self._frames:
                    picture = each.to_av()
                    picture.pict_type = 0  # the encoder chooses
                    track.encode(picture)
                track.encode(None)
            return time.process_time() - begun


def engine_seconds(engine: Engine, *, width: int, height: int) -> float:
    """Return the processor time that an engine takes for a frame of one size, several of them in flight."""
    frames = sample_frames(engine, width=width, height=height, count=2)
    engine.prepare(width=width, height=height, stream=True)
    for _ in engine.stream(frames):
        pass
    begun = time.process_time()
    count = sum(1 for _ in engine.stream(_until(frames * 500, _ENGINE_SECONDS)))
    return (time.process_time() - begun) / count


def _until(items: Sequence[_Item], seconds: float) -> Iterator[_Item]:
    """Yield items until the time is up, but a few at least."""
    begun = time.perf_counter()
    for index, each in enumerate(items):
        if index >= _FEWEST and time.perf_counter() - begun > seconds:
            return
        yield each
