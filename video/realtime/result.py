"""What came of a run in real time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postfilter.runtime.tile_reuse import TileUse
    from postfilter.video.filtering.guard import GuardReport
    from postfilter.video.reading.damage import Damage

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
class RealtimeResult:
    """What came of playing or forwarding a stream. frames_in = frames_out + frames_dropped."""

    input: str
    output: str | None
    """None where nothing was written."""
    engines: tuple[str, ...]
    """Model, precision and backend of each, from the best to the cheapest."""
    frames_in: int
    """Received and decoded."""
    frames_out: int
    frames_dropped: int
    """Not written, because decoding, encoding or the receiver could not keep up even without filtering."""
    frames_missed: int
    """Written after their deadline."""
    frames_filtered: int
    tiles: TileUse
    """Blocks of 16x16 samples of the filtered frames; those of a frame that did not change were not filtered again."""
    guard: GuardReport
    """Frames of which the engine made something else than filtering does."""
    width: int
    height: int
    seconds: float
    fps: float
    speed_x: float
    deadline_ms: float
    """From a frame's moment by the stream's clock until it must have been written."""
    latency_ms: dict[str, float]
    """p50, p95, p99, p99_9 from a frame's moment until the output had taken it, to one per cent."""
    stages_ms: dict[str, float]
    """decode, filter, encode: what each thread worked for a frame, on average."""
    rungs: tuple[RungUse, ...]
    steps_down: int
    steps_up: int
    clock_moves: int
    """Times that the clock was set anew because the source stalled or the machine slept."""
    restarts: int
    """Times that the stream's timestamps began anew."""
    damage: Damage
    """What was wrong with the input."""
    ended: str
    """`end of stream`, `silence`, `window closed` or `interrupt`."""
    tflops: float | None
    peak_memory_mb: float
    warnings: list[str] = field(default_factory=list)

    @property
    def miss_rate(self) -> float:
        """Share of the received frames that were late or dropped."""
        return (self.frames_missed + self.frames_dropped) / max(1, self.frames_in)

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data, with the keys of `filter-video` and one for real time."""
        content = dict(vars(self))
        content["engine"] = self.engines[0]
        content["tiles"] = asdict(self.tiles)
        content["guard"] = self.guard.as_json()
        content["damage"] = self.damage.as_json()
        content["quality"] = None
        content["rungs"] = [dict(vars(each)) for each in self.rungs]
        names = (
            "deadline_ms", "frames_missed", "frames_dropped", "frames_filtered", "rungs", "steps_down", "steps_up",
            "clock_moves", "restarts", "ended", "engines",
        )  # fmt: skip
        content["realtime"] = {
            "miss_rate": self.miss_rate,
            "latency_ms": self.latency_ms,
            **{name: content.pop(name) for name in names},
        }
        return content
