"""Three threads at the stream's own clock: read, filter as well as time allows, write."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from av import Packet, VideoFrame

from postfilter.errors import InputError, OutputError
from postfilter.video.channel import Channel, Stop
from postfilter.video.filtering.stage import mean_change
from postfilter.video.frame import Frame
from postfilter.video.reading.live import LiveSource
from postfilter.video.reading.source import Source
from postfilter.video.realtime.clock import StreamClock
from postfilter.video.realtime.histogram import Histogram
from postfilter.video.realtime.ladder import Ladder
from postfilter.video.realtime.rungs import Work
from postfilter.video.record import FrameRecord, Observer
from postfilter.video.writing.sink import Sink

__all__ = ["Player"]

_ITEMS_WAITING = 64
"""Before the encoder, where packets of audio and subtitles wait with the frames."""
_PROGRESS_SECONDS = 0.1
_IDLE_SECONDS = 0.005
"""Between two calls of what must run in the calling thread, such as a window: well under the time of a frame."""
_LONGEST_GAP_SECONDS = 0.5
"""However late frames are, one is written after this time: the picture never freezes."""
_END_SECONDS = 5.0
"""For what is under way when the run is ended; a receiver that takes nothing any more is then left."""


@dataclass(slots=True)
class _Due:
    """A frame on its way."""

    frame: Frame
    moment: float
    """When it was to be had, by the stream's clock."""
    index: int
    spacing: float | None
    """Seconds of its timestamp after the one before."""


class Player:
    """One run over one stream.

    Every frame that is received is forwarded: what is left out under load is filtering. Frames are dropped, and
    counted, only where decoding, encoding or the receiver cannot keep up either.

    Args:
        source: where frames come from.
        works: the filters that the ladder's rungs name.
        ladder: chooses one for each frame.
        clock: tells each frame's moment.
        sink: where they go.
        shows: whether the sink shows frames: each is given to it at its deadline, not before.
        observers: are shown each frame; costs a copy of each.
    """

    def __init__(
        self,
        *,
        source: Source,
        works: Sequence[Work],
        ladder: Ladder,
        clock: StreamClock,
        sink: Sink,
        shows: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.frames_in = self.frames_out = self.frames_missed = 0
        self.busy_seconds = {"decode": 0.0, "filter": 0.0, "encode": 0.0}
        """Time each thread worked, without waiting for the others or for the clock."""
        self.latency = Histogram()
        """Of each written frame, from its moment by the stream's clock until the sink has taken it."""
        self.seconds = 0.0
        self.interrupt: BaseException | None = None
        """What ended the run before the stream did."""
        self.closed = False
        """Whether `on_idle` ended it."""
        self.input_failure: InputError | None = None
        """Why the stream could not be read to its end; what came before is written."""
        self.left_behind = False
        """Whether a thread still waits in the input or the output, which then must not be closed."""
        self._source, self._works, self._ladder, self._clock, self._sink = source, works, ladder, clock, sink
        self._shows, self._observers = shows, tuple(observers)
        self._paced = not isinstance(source, LiveSource) or source.paced
        self._stop, self._ending = Stop(), threading.Event()
        frames = round(clock.latency_seconds / ladder.interval_seconds) + 2
        self._received: Channel[_Due] = Channel(self._stop, capacity=min(max(frames, 4), 64))
        self._ready: Channel[_Due | Packet[Any]] = Channel(self._stop, capacity=_ITEMS_WAITING)
        self._margins: deque[float] = deque(maxlen=_ITEMS_WAITING)
        """By how much frames met their deadline, on the way from the writer to the ladder."""
        self._tail = 0.0
        """What encoding and writing a frame takes, in seconds, as a moving mean."""
        self._written_at = float("-inf")
        self._dropped = {"read": 0, "write": 0}

    @property
    def frames_dropped(self) -> int:
        """Frames that were received and not written."""
        return sum(self._dropped.values())

    def run(self, on_progress: Callable[..., None] | None = None, *, on_idle: Callable[[], bool] | None = None) -> None:
        """Take the stream through until it ends, or until Ctrl-C or a signal ends it: see `interrupt`.

        Args:
            on_progress: called in the calling thread about ten times a second: (done, total, fps=…, missed=…,
                rung=…, stages_ms=…, queues=…).
            on_idle: called there as well, some hundred times a second; False ends the run.

        Raises:
            PostfilterError: the first failure of filtering or writing.
            OutputError: a frame is not accounted for.
        """
        started = time.perf_counter()
        self._ladder.begin(started)
        ended = {work.__name__: threading.Event() for work in (self._read, self._filter, self._write)}
        for work in (self._read, self._filter, self._write):
            name = work.__name__
            threading.Thread(
                target=self._stop.guard, args=(work, ended[name]), name=f"postfilter{name}", daemon=True
            ).start()
        wait, told = _PROGRESS_SECONDS if on_idle is None else _IDLE_SECONDS, started
        try:
            while not ended["_write"].wait(wait) and not self._stop.stopped:
                if on_idle is not None and not on_idle():
                    self.closed = True
                    self._end(ended)
                if time.perf_counter() - told >= _PROGRESS_SECONDS:
                    told = time.perf_counter()
                    self._tell(on_progress, started)
        except BaseException as error:
            self.interrupt = error
            self._end(ended)
        self.left_behind = not all(self._ended(event) for event in ended.values())
        # What a stopped run had under way.
        self._dropped["write"] += self.frames_in - self.frames_out - self.frames_dropped if self._ending.is_set() else 0
        self.seconds = time.perf_counter() - started
        self._ladder.end(time.perf_counter())
        if self._stop.failure is not None:
            raise self._stop.failure
        if self.frames_in != self.frames_out + self.frames_dropped:
            raise OutputError(
                f"{self.frames_in} frames came in, {self.frames_out} went out and {self.frames_dropped} were dropped; "
                "please report it"
            )
        self._tell(on_progress, started)

    def _end(self, ended: dict[str, threading.Event]) -> None:
        """Let what is under way come out, and stop."""
        self._ending.set()
        if isinstance(self._source, LiveSource):
            self._source.stop()
        with suppress(KeyboardInterrupt, SystemExit):
            if not ended["_read"].wait(1):
                self._received.close()  # it waits for a sender who may never send again
            ended["_write"].wait(_END_SECONDS)
        self._stop.set()

    def _ended(self, event: threading.Event) -> bool:
        with suppress(KeyboardInterrupt, SystemExit):
            return event.wait(2)
        return event.is_set()

    def _tell(self, on_progress: Callable[..., None] | None, started: float) -> None:
        if on_progress is not None:
            queues: dict[str, Channel[Any]] = {"filter": self._received, "encode": self._ready}
            on_progress(
                self.frames_out,
                self._source.info.frames,
                fps=self.frames_out / max(time.perf_counter() - started, 1e-9),
                missed=self.frames_missed,
                rung=self._ladder.rungs[self._ladder.current].name,
                stages_ms={name: 1000 * each / max(1, self.frames_in) for name, each in self.busy_seconds.items()},
                queues={name: (len(each), each.capacity) for name, each in queues.items()},
            )

    def _read(self) -> None:
        items, last = self._source.items(), None
        begun = time.perf_counter()
        while not self._ending.is_set():
            before = time.perf_counter()
            try:
                item = next(items, None)
            except InputError as error:
                self.input_failure = error
                break
            now = time.perf_counter()
            # Waiting for a sender is no work.
            since = max(before, self._source.arrived) if isinstance(self._source, LiveSource) else before
            self.busy_seconds["decode"] += now - since
            if item is None or self._ending.is_set():
                break
            if not isinstance(item, VideoFrame):
                self._ready.put(item)
                continue
            frame = self._source.frame_of(item)
            # The first frame was there before this began.
            arrived = max(self._source.arrived, begun) if isinstance(self._source, LiveSource) else now
            moment = self._clock.stamp(frame.pts_seconds, arrived)
            due = _Due(frame, moment, self.frames_in, None if last is None else frame.pts_seconds - last)
            last = frame.pts_seconds
            self.frames_in += 1
            if not self._paced:
                # The sender does not wait: what the rest cannot take is better lost here than as broken packets.
                oldest = self._received.offer(due, wait_seconds=self._clock.latency_seconds)
                self._dropped["read"] += oldest is not None
                continue
            if self._ending.wait(max(0.0, moment - time.perf_counter())):
                self._dropped["read"] += 1
                break
            self._received.put(due)
        self._received.close()

    def _filter(self) -> None:
        ladder = self._ladder
        while (due := self._received.get()) is not None:
            started = time.perf_counter()
            while self._margins:
                ladder.finished(started, margin=self._margins.popleft())
            slack = due.moment + self._clock.latency_seconds - started
            choice = ladder.choose(started, slack=slack, tail=self._tail, spacing=due.spacing)
            decoded = due.frame.copy() if self._observers else None
            if choice.work is not None:
                started = time.perf_counter()
                due.frame = self._works[choice.work](due.frame, due.index)
                now = time.perf_counter()
                ladder.measured(now, choice, now - started)
                self.busy_seconds["filter"] += now - started
            if decoded is not None:
                work = None if choice.work is None else self._works[choice.work]
                self._show(decoded, due, work, filter_seconds=time.perf_counter() - started)
            self._ready.put(due)
        self._ready.close()

    def _show(self, decoded: Frame, due: _Due, work: Work | None, *, filter_seconds: float) -> None:
        """Tell the observers of a frame, and of the work that filtered it; None where it passed."""
        record = FrameRecord(
            index=due.index,
            pts_seconds=due.frame.pts_seconds,
            filter_ms=1000 * filter_seconds,
            change=mean_change(decoded.planes[0], due.frame.planes[0]),
            latency_ms=1000 * (time.perf_counter() - due.moment),
            qp=None if decoded.qp is None else float(decoded.qp.mean()),
            tiles=0 if work is None else work.last.total,
            tiles_reused=0 if work is None else work.last.reused,
            guard=None if work is None else work.objection,
        )
        for observer in self._observers:
            observer.see(record, decoded, due.frame)

    def _write(self) -> None:
        while (item := self._ready.get()) is not None:
            before = time.perf_counter()
            if isinstance(item, _Due):
                self._write_frame(item, before)
            else:
                self._sink.write_packet(item)
                self.busy_seconds["encode"] += time.perf_counter() - before
        before = time.perf_counter()
        self._sink.finish()
        self.busy_seconds["encode"] += time.perf_counter() - before

    def _write_frame(self, due: _Due, started: float) -> None:
        latency = self._clock.latency_seconds
        deadline = due.moment + latency
        if started - deadline > latency and started - self._written_at < _LONGEST_GAP_SECONDS:
            self._dropped["write"] += 1
            self._margins.append(deadline - started)
            return
        if self._shows and deadline > started:
            self._ending.wait(deadline - started)
        begun = time.perf_counter()
        self._sink.write_frame(due.frame.to_av())
        now = time.perf_counter()
        self.busy_seconds["encode"] += now - begun
        self._tail += (now - begun - self._tail) / 8
        self._written_at = now
        self.frames_out += 1
        self.latency.add(now - due.moment)
        # What is shown is ready before its deadline; showing it is no delay.
        margin = deadline - (started if self._shows else now)
        self.frames_missed += margin < 0
        self._margins.append(margin)
