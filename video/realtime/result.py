"""What came of a run in real time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from postfilter.video.result import RunResult

__all__ = ["RealtimeResult", "RungUse"]


@dataclass(frozen=True, kw_only=True)
class RungUse:
    """How much a rung of the ladder was used."""

    name: str
    """The engine, or `luma`, `half`, `pass`."""
    frames: int
    """That got its treatment; on `half`, every second of them is filtered."""
    seconds: float
    """For which it was the current one."""


@dataclass(frozen=True, kw_only=True)
class RealtimeResult(RunResult):
    """What came of playing or forwarding a stream. frames_in = frames_out + frames_dropped."""

    engines: tuple[str, ...]
    """Model, precision and backend of each, from the best to the cheapest."""
    frames_dropped: int
    """Not written, because decoding, encoding or the receiver could not keep up even without filtering."""
    frames_missed: int
    """Written after their deadline."""
    frames_filtered: int
    deadline_ms: float
    """From a frame's moment by the stream's clock until it must have been written."""
    latency_ms: dict[str, float]
    """p50, p95, p99, p99_9 from a frame's moment until the output had taken it, to one per cent."""
    rungs: tuple[RungUse, ...]
    steps_down: int
    steps_up: int
    clock_moves: int
    """Times that the clock was set anew because the source stalled or the machine slept."""
    restarts: int
    """Times that the stream's timestamps began anew."""
    ended: str
    """`end of stream`, `silence`, `window closed` or `interrupt`."""

    @property
    def miss_rate(self) -> float:
        """Share of the received frames that were late or dropped."""
        return (self.frames_missed + self.frames_dropped) / max(1, self.frames_in)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data, with the keys of `filter-video` and one for real time."""
        content = super().as_json() | {"engine": self.engines[0], "quality": None}
        names = (
            "deadline_ms", "frames_missed", "frames_dropped", "frames_filtered", "rungs", "steps_down", "steps_up",
            "clock_moves", "restarts", "ended", "engines",
        )  # fmt: skip
        content["realtime"] = {
            "miss_rate": self.miss_rate,
            "latency_ms": content["latency_ms"],
            **{name: content.pop(name) for name in names},
        }
        return content
