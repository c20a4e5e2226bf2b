"""What is known of each frame after it was filtered, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from postfilter.video.frame import Frame

__all__ = ["FrameRecord", "Observer"]


@dataclass(slots=True, kw_only=True)
class FrameRecord:
    """One frame's figures."""

    index: int
    """From 0, in the order of presentation."""
    pts_seconds: float
    filter_ms: float
    """Time since the frame before it came out of the filter, without waiting for the decoder; in real time what
    filtering it took."""
    change: float
    """Mean absolute difference between filtered and decoded luma, in code values, on a sample of them."""
    latency_ms: float | None = None
    """From leaving the decoder (in real time: from its moment by the stream's clock) to leaving the filter, waiting in
    between included; known once it has left."""
    qp: float | None = None
    """Mean quantiser, where the bitstream tells."""
    tiles: int = 0
    """Parts into which the frame was divided, 0 where it was not."""
    tiles_reused: int = 0
    """Of these, taken from the frame before."""
    tiles_moved: int = 0
    """Of those reused, taken from another place, since the content moved."""
    tiles_skipped: int = 0
    """Of these, passed through because their quantiser is low."""
    guard: str | None = None
    """What the guard objected to, where it did, and what it did then."""
    guard_counts: dict[str, int] = field(default_factory=dict)
    """What it counted in this frame, under the names of its report."""
    psnr_decoded: float | None = None
    """Luma PSNR in dB against the source, where one was given."""
    psnr_filtered: float | None = None
    """The same after filtering."""

    def counts(self) -> dict[str, float]:
        """Return what is summed up over a clip, without zeros."""
        found = {
            "tiles": self.tiles,
            "tiles_reused": self.tiles_reused,
            "tiles_moved": self.tiles_moved,
            "tiles_skipped": self.tiles_skipped,
            **self.guard_counts,
            "psnr_decoded": self.psnr_decoded or 0.0,
            "psnr_filtered": self.psnr_filtered or 0.0,
        }
        return {name: value for name, value in found.items() if value}


class Observer(Protocol):
    """Is shown every frame, by the thread that filters: it must be quick."""

    def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        """Look at a frame. `decoded` and `filtered` share no memory, and are valid only during the call.

        `filtered` is about to be encoded; copy what is to be kept.
        """
        ...
