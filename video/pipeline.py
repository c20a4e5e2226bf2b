"""Three threads with bounded queues between them: decode, filter, encode. Any failure stops all three."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from av import Packet, VideoFrame

from postfilter.video.channel import Channel, Stop
from postfilter.video.filtering.stage import Filtered, FrameFilter
from postfilter.video.frame import Frame
from postfilter.video.limits import RunTime
from postfilter.video.reading.source import Source
from postfilter.video.record import Observer
from postfilter.video.reference import Reference
from postfilter.video.writing.sink import ClipSink

__all__ = ["Pipeline"]

_FRAMES_WAITING = 4
"""Between two threads: enough that none starves while another takes longer for a frame, few enough to cost little."""
_PACKETS_WAITING = 64
"""Before the encoder, where packets of audio and subtitles wait with the frames."""
_FRAME_WEIGHT = 8
"""In packets: so many fewer frames wait, which are large."""
_PROGRESS_SECONDS = 0.1


class Pipeline:
    """One run over one clip.

    Args:
        source: where frames come from.
        filtering: what is done to them.
        sink: where they go.
        reference: what they are compared with, if anything; as for `observers`, the frames as they went in must be
            kept for that.
        observers: are shown each frame.
    """

    def __init__(
        self,
        *,
        source: Source,
        filtering: FrameFilter,
        sink: ClipSink,
        reference: Reference | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.frames_in = 0
        """Decoded, those that the sink has from an earlier run included."""
        self.read_whole = False
        """Whether the clip was read to its end, which a Ctrl-C prevents; what was read has been taken by the sink."""
        self.busy_seconds = {"decode": 0.0, "filter": 0.0, "encode": 0.0}
        """Time each thread worked, without waiting for the others."""
        self.latencies = array("d")
        """Seconds of each frame from leaving the decoder until the sink has taken it."""
        self.time = RunTime()
        """From the first frame that the sink has not from an earlier run, to the end."""
        self.source, self.filtering, self.sink = source, filtering, sink
        self._reference, self._observers = reference, tuple(observers)
        self._stop = Stop()
        self._decoded: Channel[Frame] = Channel(self._stop, capacity=_FRAMES_WAITING)
        self._ready: Channel[tuple[float, Filtered] | Packet[Any]] = Channel(
            self._stop, capacity=_PACKETS_WAITING, weigh=lambda item: 1 if isinstance(item, Packet) else _FRAME_WEIGHT
        )
        """Frames come with the moment at which they left the decoder."""
        self._read_no_more = False
        self._left_decoder: deque[float] = deque()
        """The moments of the frames that have not yet left the filter."""

    def run(
        self, on_progress: Callable[..., None] | None = None, on_interrupt: Callable[[], None] | None = None
    ) -> None:
        """Take the whole clip through; return when the sink has taken everything.

        The first Ctrl-C ends the reading, and what was read is brought to its end; `read_whole` tells of it. The second
        one stops at once.

        Args:
            on_progress: called in the calling thread, about ten times a second, as on_progress(done, total, fps=…,
                speed=…, stages_ms=…, queues=…).
            on_interrupt: called there at the first Ctrl-C.

        Raises:
            PostfilterError: the first failure of any thread.
            KeyboardInterrupt: the second one; the threads have ended by then.
        """
        self.time.begin()
        # Not Thread.join: a Ctrl-C during it makes Python before 3.13 take a running thread for a finished one.
        ended = [threading.Event() for _ in range(3)]
        threads = [
            threading.Thread(target=self._stop.guard, args=(work, event), name=f"postfilter-{name}", daemon=True)
            for (name, work), event in zip(
                (("decode", self._decode), ("filter", self._filter), ("encode", self._encode)), ended, strict=True
            )
        ]
        try:
            for thread in threads:
                thread.start()
            while not (ended[-1].is_set() or self._stop.stopped):
                try:
                    ended[-1].wait(_PROGRESS_SECONDS)
                    self._tell(on_progress)
                except KeyboardInterrupt:
                    if self._read_no_more:
                        raise
                    self._read_no_more = True
                    if on_interrupt is not None:
                        on_interrupt()
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread, event in zip(threads, ended, strict=True):
                if thread.ident is not None:
                    _wait(event)
        self.time.end()
        if self._stop.failure is not None:
            raise self._stop.failure
        self._tell(on_progress)

    def _tell(self, on_progress: Callable[..., None] | None) -> None:
        if on_progress is None:
            return
        done = len(self.latencies)
        fps = done / self.time.seconds
        on_progress(
            self.sink.frames_done + done,
            self.source.info.frames,
            fps=fps,
            speed=fps / float(self.source.info.frame_rate),
            stages_ms={name: 1000 * seconds / max(done, 1) for name, seconds in self.busy_seconds.items()},
            queues={
                "filter": (len(self._decoded), self._decoded.capacity),
                "encode": (len(self._ready), self._ready.capacity),
            },
        )

    def _decode(self) -> None:
        items = self.source.items()
        while not self._read_no_more:
            before = time.perf_counter()
            item = next(items, None)
            now = time.perf_counter()
            self.busy_seconds["decode"] += now - before
            if item is None:
                self.read_whole = True
                break
            if isinstance(item, VideoFrame):
                self.frames_in += 1
                if self.frames_in <= self.sink.frames_done:
                    if self.frames_in == self.sink.frames_done:
                        self.filtering.shown(self.source.frame_of(item))
                    else:
                        self.source.pass_over(item)
                    # Going over what an earlier run made is no part of this one's work.
                    self.busy_seconds["decode"] = 0.0
                    self.time.begin()
                    continue
                self._left_decoder.append(now)
                self._decoded.put(self.source.frame_of(item))
            else:
                self._ready.put(item)
        self._decoded.close()

    def _filter(self) -> None:
        filtered = self.filtering.stream(self._frames())
        while True:
            before, waited = time.perf_counter(), self.filtering.waiting_seconds
            each = next(filtered, None)
            waited = self.filtering.waiting_seconds - waited
            self.busy_seconds["filter"] += time.perf_counter() - before - waited
            if each is None:
                break
            left_decoder = self._left_decoder.popleft()
            each.record.latency_ms = 1000 * (time.perf_counter() - left_decoder)
            self._look(each)
            self._ready.put((left_decoder, each))
        self._ready.close()

    def _frames(self) -> Iterator[Frame]:
        while (frame := self._decoded.get()) is not None:
            yield frame

    def _look(self, each: Filtered) -> None:
        """Compare and show a frame, which is not filtering."""
        if each.decoded is None:
            return
        if self._reference is not None:
            psnr = self._reference.measure(each.decoded.planes[0], each.frame.planes[0])
            each.record.psnr_decoded, each.record.psnr_filtered = psnr
        for observer in self._observers:
            observer.see(each.record, each.decoded, each.frame)

    def _encode(self) -> None:
        while (item := self._ready.get()) is not None:
            before = time.perf_counter()
            if isinstance(item, tuple):
                left_decoder, filtered = item
                self.sink.write_frame(filtered.frame.to_av(), filtered.record.counts())
                self.latencies.append(time.perf_counter() - left_decoder)
            else:
                self.sink.write_packet(item)
            self.busy_seconds["encode"] += time.perf_counter() - before
        before = time.perf_counter()
        self.sink.finish(partial=not self.read_whole)
        self.busy_seconds["encode"] += time.perf_counter() - before


def _wait(event: threading.Event) -> None:
    """Wait for a thread's end, through a second Ctrl-C too: a stopped one ends within a frame.

    Left alive, it would still be in the file and the engine that are closed next, and the process would abort.
    """
    while not event.is_set():
        with suppress(KeyboardInterrupt, SystemExit):
            event.wait()
