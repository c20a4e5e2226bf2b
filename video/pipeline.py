"""Three threads with bounded queues between them: decode, filter, encode. Any failure stops all three."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from av import Packet, VideoFrame

from postfilter.errors import PostfilterError
from postfilter.video.channel import Channel, Stop, Stopped
from postfilter.video.filtering.guard import looks_wrong
from postfilter.video.filtering.planes import FramePlanes
from postfilter.video.pixels import Plane, plane_view
from postfilter.video.reading.source import Source
from postfilter.video.reference import Reference
from postfilter.video.writing.sink import Sink

if TYPE_CHECKING:
    from postfilter.runtime import Engine

__all__ = ["Pipeline"]

_FRAMES_WAITING = 4
"""Between two threads: enough that none starves while another takes longer for a frame, few enough to cost little."""
_ITEMS_WAITING = 64
"""Before the encoder, where packets of audio and subtitles wait with the frames."""
_PROGRESS_SECONDS = 0.1


@dataclass(slots=True)
class _Travelling:
    """A frame on its way, and when it left the decoder."""

    frame: VideoFrame
    since: float


class Pipeline:
    """One run over one clip.

    Args:
        source: where frames come from.
        planes: how they are given to the engine.
        engine: what filters them.
        sink: where they go.
        reference: what they are compared with, if anything.
    """

    def __init__(
        self, *, source: Source, planes: FramePlanes, engine: Engine, sink: Sink, reference: Reference | None
    ) -> None:
        self.frames_in = 0
        self.frames_flagged = 0
        self.busy_seconds = {"decode": 0.0, "filter": 0.0, "encode": 0.0}
        """Time each thread worked, without waiting for the others."""
        self.latencies = array("d")
        """Seconds of each frame from leaving the decoder until the sink has taken it."""
        self.seconds = 0.0
        self._source, self._planes, self._engine, self._sink, self._reference = source, planes, engine, sink, reference
        self._stop = Stop()
        self._decoded: Channel[_Travelling] = Channel(self._stop, capacity=_FRAMES_WAITING)
        self._ready: Channel[_Travelling | Packet[Any]] = Channel(self._stop, capacity=_ITEMS_WAITING)

    def run(self, on_progress: Callable[..., None] | None = None) -> None:
        """Take the whole clip through; return when the sink has taken everything.

        `on_progress(done, total, fps=…)` is called in the calling thread, about ten times a second.

        Raises:
            PostfilterError: the first failure of any thread.
            KeyboardInterrupt: as it comes; the threads have ended by then.
        """
        started = time.perf_counter()
        # Not Thread.join: a Ctrl-C during it makes Python before 3.13 take a running thread for a finished one.
        ended = [threading.Event() for _ in range(3)]
        threads = [
            threading.Thread(target=self._guarded, args=(work, event), name=f"postfilter-{name}", daemon=True)
            for (name, work), event in zip(
                (("decode", self._decode), ("filter", self._filter), ("encode", self._encode)), ended, strict=True
            )
        ]
        try:
            for thread in threads:
                thread.start()
            while not ended[-1].wait(_PROGRESS_SECONDS) and not self._stop.stopped:
                self._tell(on_progress, started)
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread, event in zip(threads, ended, strict=True):
                if thread.ident is not None:
                    _wait(event)
        self.seconds = time.perf_counter() - started
        if self._stop.failure is not None:
            raise self._stop.failure
        self._tell(on_progress, started)

    def _tell(self, on_progress: Callable[..., None] | None, started: float) -> None:
        if on_progress is None:
            return
        done = len(self.latencies)
        fps = done / max(time.perf_counter() - started, 1e-9)
        on_progress(done, self._source.info.frames, fps=fps, speed=fps / float(self._source.info.frame_rate))

    def _guarded(self, work: Callable[[], None], ended: threading.Event) -> None:
        try:
            work()
        except Stopped:
            return
        except BaseException as error:
            self._stop.set(error)
        finally:
            ended.set()

    def _decode(self) -> None:
        items = self._source.items()
        while True:
            before = time.perf_counter()
            item = next(items, None)
            now = time.perf_counter()
            self.busy_seconds["decode"] += now - before
            if item is None:
                break
            if isinstance(item, VideoFrame):
                self.frames_in += 1
                self._decoded.put(_Travelling(item, now))
            else:
                self._ready.put(item)
        self._decoded.close()

    def _filter(self) -> None:
        waiting = 0.0  # and comparing with the reference, which is no filtering either
        under_way: deque[tuple[_Travelling, Plane]] = deque()

        def inputs() -> Iterator[Plane]:
            nonlocal waiting
            while True:
                before = time.perf_counter()
                each = self._decoded.get()
                waiting += time.perf_counter() - before
                if each is None:
                    return
                planes = self._planes.take(each.frame)
                under_way.append((each, planes))
                yield planes

        outputs = iter(self._stream(inputs()))
        while True:
            before, waited = time.perf_counter(), waiting
            filtered = next(outputs, None)
            if filtered is None:
                break
            each, planes = under_way.popleft()
            waiting += self._put(each.frame, planes, filtered)
            self.busy_seconds["filter"] += time.perf_counter() - before - (waiting - waited)
            self._ready.put(each)
        self._ready.close()

    def _stream(self, planes: Iterable[Plane]) -> Iterator[Plane]:
        try:
            yield from self._engine.stream(planes)
        except (PostfilterError, Stopped):
            raise
        except Exception as error:
            raise PostfilterError(
                f"the engine failed near frame {len(self.latencies)} of {self._source.path}: {error}; try "
                "another precision or --backend, and report it if that helps"
            ) from error

    def _put(self, frame: VideoFrame, before: Plane, after: Plane) -> float:
        """Write the output into the frame; return the seconds that comparing with the reference took."""
        self.frames_flagged += looks_wrong(before, after, peak=self._source.info.format.peak)
        if self._reference is None:
            self._planes.put(frame, before, after)
            return 0.0
        decoded = plane_view(frame, 0).copy()
        self._planes.put(frame, before, after)
        started = time.perf_counter()
        self._reference.measure(decoded, plane_view(frame, 0))
        return time.perf_counter() - started

    def _encode(self) -> None:
        while (item := self._ready.get()) is not None:
            before = time.perf_counter()
            if isinstance(item, _Travelling):
                self._sink.write_frame(item.frame)
                self.latencies.append(time.perf_counter() - item.since)
            else:
                self._sink.write_packet(item)
            self.busy_seconds["encode"] += time.perf_counter() - before
        before = time.perf_counter()
        self._sink.finish()
        self.busy_seconds["encode"] += time.perf_counter() - before


def _wait(event: threading.Event) -> None:
    """Wait for a thread's end, through a second Ctrl-C too: a stopped one ends within a frame.

    Left alive, it would still be in the file and the engine that are closed next, and the process would abort.
    """
    while not event.is_set():
        with suppress(KeyboardInterrupt, SystemExit):
            event.wait()
