"""What the QP of a frame decides: which of its blocks leave as they came, and what an engine that reads it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.runtime.stream_item import StreamItem
from postfilter.video.reading.qp import QP_CODECS

if TYPE_CHECKING:
    from postfilter.runtime import Engine, EngineManifest
    from postfilter.video.frame import Frame
    from postfilter.video.reading.estimated_qp import QpFrom
    from postfilter.video.reading.source import Source

__all__ = ["FEEDS", "Blocks", "QpSteering", "QpUse", "block_qp", "check_inputs", "told", "wants_qp"]

Blocks = NDArray[np.bool_]
"""Which blocks of 16x16 samples, [N, ceil(H / 16), ceil(W / 16)]."""


@dataclass(frozen=True, kw_only=True)
class QpUse:
    """What was known of the QP of a clip, and what became of it."""

    source: str
    """Where it came from: `h264 side data`, `hevc slice`, …, `estimated`, `given`."""
    mean: float | None
    """Over all blocks of all frames that tell it, as `min` and `max`; None where none did."""
    min: float | None
    max: float | None
    frames_without: int
    """Frames whose QP is not known; nothing of them is skipped."""
    blocks_skipped: int
    """Blocks of 16x16 samples that left as they came."""
    frames_skipped: int
    """Frames all of which did: the engine never saw them."""
    share: float
    """Of all blocks, those skipped, 0..1."""


def block_qp(frame: Frame) -> NDArray[np.float32] | None:
    """Return the QP of each block of what is filtered of a frame, float32 [N, ceil(H / 16), ceil(W / 16)].

    N is 1, or 2 for the fields of an interlaced frame, H then the lines of a field. A block of a field lies in two
    blocks of the frame, one below the other; which of them were coded as fields is not known, so the coarser counts.
    None where the QP of the frame is not known.
    """
    if frame.qp is None:
        return None
    if not frame.interlaced:
        return frame.qp[None]
    rows, columns = frame.qp.shape
    pairs = np.pad(frame.qp, ((0, rows % 2), (0, 0)), mode="edge").reshape(-1, 2, columns).max(axis=1)
    return np.stack([pairs, pairs])


FEEDS: dict[str, Callable[[Frame], NDArray[Any] | None]] = {"qp": block_qp}
"""What can be told of a frame to an engine that declares an input of that name."""


def told(engine: Engine, frame: Frame) -> dict[str, NDArray[Any]]:
    """Return what an engine is given besides the samples of a frame; what is not known is left to its default."""
    known = {each.name: FEEDS[each.name](frame) for each in engine.inputs if each.name in FEEDS}
    return {name: value for name, value in known.items() if value is not None}


def wants_qp(engine: Engine | EngineManifest, skip_below: float | None = None, *, qp_from: QpFrom = "auto") -> bool:
    """Whether the QP of frames is to be found out.

    Raises:
        InputError: it is to come from elsewhere than the bitstream, and nobody reads it.
    """
    reads = any(each.name == "qp" for each in engine.inputs)
    if qp_from != "auto" and not reads:
        raise InputError(f"got the QP {qp_from}, which this engine does not read; leave it out, or take another engine")
    return skip_below is not None or (reads and qp_from != "blind")


def check_inputs(source: Source, engine: Engine, *, skip_below: float | None = None) -> None:
    """Refuse what is to be known of frames and is not.

    Raises:
        InputError: the QP is not known, and blocks are to be skipped by it or the engine has no default for it; or the
            engine reads something that is never known and has no default for it.
    """
    needed = [each.name for each in engine.inputs if not each.optional]
    read = source.qp_source in QP_CODECS.values()
    if (skip_below is not None and not read) or ("qp" in needed and source.qp_source is None):
        raise InputError(
            f"the QP of {source.path} is not known: its codec is {source.codec}, and it is read from "
            f"{', '.join(QP_CODECS)} alone, of a source opened with qp=True; leave out --skip-below-qp, or take an "
            "engine that does without"
        )
    if unknown := [name for name in needed if name not in FEEDS]:
        raise InputError(
            f"the engine {engine.manifest.model} reads {', '.join(unknown)} besides the picture; what can be told "
            f"of a frame is {', '.join(FEEDS)}: take another engine"
        )


class QpSteering:
    """Steers the filter by what is known of frames, and counts.

    Args:
        source: where frames come from, opened with `qp` where `wants_qp` says so.
        engine: what filters them.
        skip_below: blocks with a lower QP leave as they came; None filters all.

    Raises:
        InputError: see `check_inputs`.
    """

    def __init__(self, source: Source, engine: Engine, *, skip_below: float | None = None) -> None:
        check_inputs(source, engine, skip_below=skip_below)
        self._source, self._skip_below = source.qp_source, skip_below
        self._engine = engine
        self._frames = self._without = self._skipped = self._frames_skipped = self._blocks = 0
        self._sum, self._known = 0.0, 0
        self._least, self._most = np.inf, -np.inf

    def steered(self, item: StreamItem, frame: Frame) -> StreamItem:
        """Return a frame's item with what of it is left alone and what else the engine is told of it."""
        inputs = {**(item.inputs or {}), **told(self._engine, frame)}
        return StreamItem(planes=item.planes, keep=self._keep(frame), inputs=inputs)

    def _keep(self, frame: Frame) -> Blocks | None:
        """Return which blocks leave as they came, bool [N, ceil(H / 16), ceil(W / 16)]; None where none does."""
        if self._source is None:
            return None
        levels = block_qp(frame)
        self._frames += 1
        if levels is None:
            self._without += 1
            self._blocks += -(-frame.height // 16) * -(-frame.width // 16)
            return None
        self._blocks += levels.size
        self._known += levels.size
        self._sum += float(levels.sum(dtype=np.float64))
        self._least, self._most = min(self._least, float(levels.min())), max(self._most, float(levels.max()))
        if self._skip_below is None:
            return None
        kept = levels < self._skip_below
        count = int(np.count_nonzero(kept))
        self._skipped += count
        self._frames_skipped += count == kept.size
        return kept if count else None

    def result(self) -> QpUse | None:
        """Return the figures; None where no QP was read."""
        if self._source is None:
            return None
        known = self._known > 0
        return QpUse(
            source=self._source,
            mean=self._sum / self._known if known else None,
            min=self._least if known else None,
            max=self._most if known else None,
            frames_without=self._without,
            blocks_skipped=self._skipped,
            frames_skipped=self._frames_skipped,
            share=self._skipped / self._blocks if self._blocks else 0.0,
        )
