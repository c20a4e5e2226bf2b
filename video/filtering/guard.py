"""The guard that does no harm: it looks at every filtered frame, and mends or takes back what is no filtering."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from postfilter.errors import InputError, PostfilterError, UnknownNameError
from postfilter.runtime import Engine
from postfilter.video.filtering.redo import redo_tiles
from postfilter.video.filtering.tile_statistics import TileStatistics, tile_statistics
from postfilter.video.filtering.verdict import Box, judge, limits_for

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest
    from postfilter.runtime.changes import Cells
    from postfilter.video.pixels import Plane

__all__ = ["GUARD_MODES", "Guard", "GuardEvent", "GuardMode", "GuardReport", "ReferenceEngine"]

GuardMode = Literal["redo", "pass", "warn", "off"]
"""What is done about flagged tiles: filtered again with the reference engine, and as they came where that does no
better or there is none; left as they came; left as the engine made them; or nothing is looked at."""
GUARD_MODES: tuple[GuardMode, ...] = ("redo", "pass", "warn", "off")

_TOLD = 3
"""Frames that are logged one by one; the others are counted."""
_KEPT = 100
"""Events kept in the report."""

_log = logging.getLogger(__name__)

ReferenceEngine: TypeAlias = Engine | Callable[[], Engine | None] | None
"""An engine, or what opens one when it is needed for the first time; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class GuardEvent:
    """One flagged frame."""

    frame: int
    """From 0, in the order of presentation."""
    pts_seconds: float
    reason: str
    tiles: int
    """How many of its tiles."""
    done: str
    """What was done about it."""

    def __str__(self) -> str:
        tiles = "1 tile" if self.tiles == 1 else f"{self.tiles} tiles"
        return f"{self.reason} ({tiles}): {self.done}"


@dataclass(kw_only=True)
class GuardReport:
    """What the guard found in a clip."""

    frames_flagged: int = 0
    frames_redone: int = 0
    """Of these, those with tiles that the reference engine filtered."""
    frames_passed: int = 0
    """Of these, those with tiles that were left as they came."""
    tiles_flagged: int = 0
    events: list[GuardEvent] = field(default_factory=list)
    """The first hundred."""

    def counts(self) -> dict[str, int]:
        """Return the sums under their names."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def add(self, counts: Mapping[str, float]) -> None:
        """Add what was counted in an earlier part of the clip, as `counts` names it."""
        for name in self.counts():
            setattr(self, name, getattr(self, name) + int(counts.get(name, 0)))

    def warning(self) -> str | None:
        """Return in one line what a person should know, None where all is well."""
        if not self.frames_flagged:
            return None
        # None of an earlier run's are kept.
        first = f" (one at {self.events[0].pts_seconds:.3f} s: {self.events[0]})" if self.events else ""
        return (
            f"{self.frames_flagged} filtered frames were not what a filter makes of their input{first}; "
            f"{self.frames_redone} were filtered again by the reference engine, {self.frames_passed} passed through in "
            "part or whole; try --fp32, and look at the output"
        )


class Guard:
    """Checks what an engine made of a clip's frames.

    Args:
        engine: the engine.
        mode: what is done about flagged tiles.
        reference: filters them again, at best the same model in fp32; it must take the same planes as `engine`. Not
            used where `engine` is an fp32 engine itself.

    Raises:
        UnknownNameError: no such mode.
        InputError: the reference takes other planes than the engine.
    """

    def __init__(self, engine: Engine, *, mode: GuardMode = "redo", reference: ReferenceEngine = None) -> None:
        if mode not in GUARD_MODES:
            raise UnknownNameError("guard", mode, GUARD_MODES)
        self.report = GuardReport()
        self._mode, self._engine = mode, engine
        self._limits = limits_for(engine.manifest)
        self._seen: TileStatistics | None = None
        """Of the last frame, where nothing was found in it."""
        self._reference = None if mode != "redo" or _is_reference(engine.manifest) else reference
        self._opened: Engine | None = None
        """The reference engine that was opened here, to be closed."""
        if isinstance(self._reference, Engine):
            self._check(self._reference)

    def check(
        self,
        before: Plane,
        after: Plane,
        *,
        frame: int,
        pts_seconds: float,
        inputs: Mapping[str, Any] | None = None,
        altered: Cells | None = None,
    ) -> tuple[Plane, str | None]:
        """Return what is to be used in place of `after`, and what was found and done, None where all is well.

        Args:
            before: what the engine was given, [N, C, H, W]; only read.
            after: what it made of it; only read: where tiles are replaced a copy is returned, else `after` itself.
            frame: its number, for the report.
            pts_seconds: its time, for the report.
            inputs: what the engine was told besides, one value for each sample or for each block of 16x16 samples.
            altered: cells of 8x8 samples; all others are in both what they were in the last call, so what was measured
                of them then is not measured again. None where that is not known.

        What is found does not depend on `altered`.
        """
        nothing = altered is not None and not altered.any()
        if self._mode == "off" or (nothing and self._seen is not None):
            return after, None
        seen = tile_statistics(before, after, last=self._seen, altered=altered)
        verdict = judge(before, after, bit_depth=self._engine.bit_depth, limits=self._limits, seen=seen)
        self._seen = seen if verdict is None else None
        if verdict is None:
            return after, None
        boxes = verdict.boxes(*before.shape[-2:])
        redone, passed = 0, 0
        if self._mode != "warn":
            after, passed = self._mended(before, after, boxes, inputs)
            redone = len(boxes) - passed
        done = " and ".join(
            f"{count} {what}" for count, what in ((redone, "filtered again"), (passed, "passed through")) if count
        )
        event = GuardEvent(
            frame=frame, pts_seconds=pts_seconds, reason=verdict.reason, tiles=len(boxes), done=done or "left as it is"
        )
        self._note(event, redone=redone, passed=passed)
        return after, str(event)

    def close(self) -> None:
        """Close the reference engine if it was opened here."""
        if self._opened is not None:
            self._opened.close()
        self._opened = self._reference = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _mended(
        self, before: Plane, after: Plane, boxes: list[Box], inputs: Mapping[str, Any] | None
    ) -> tuple[Plane, int]:
        """The frame with its flagged tiles replaced, and how many of them are as they came."""
        reference = self._reference_engine()
        if reference is None:
            after = after.copy()
        else:
            after = redo_tiles(reference, before, after, boxes, inputs)
            again = judge(before, after, bit_depth=self._engine.bit_depth, limits=self._limits)
            boxes = [] if again is None else again.boxes(*before.shape[-2:])
        for n, rows, columns in boxes:
            after[n, :, rows, columns] = before[n, :, rows, columns]
        return after, len(boxes)

    def _reference_engine(self) -> Engine | None:
        """The reference engine, opened at its first use; None where there is none."""
        if self._reference is None or isinstance(self._reference, Engine):
            return self._reference
        opener, self._reference = self._reference, None
        try:
            self._opened = opener()
            if self._opened is not None:
                self._check(self._opened)
            self._reference = self._opened
        except PostfilterError as error:
            _log.warning("guard: there is no reference engine, flagged tiles are passed through (%s)", error)
        return self._reference

    def _check(self, reference: Engine) -> None:
        wanted, got = ((each.layout, each.bit_depth) for each in (self._engine, reference))
        if wanted != got:
            raise InputError(
                f"the guard's reference engine takes {got[0]} planes of {got[1]} bits, the engine {wanted[0]} of "
                f"{wanted[1]}; give an engine of the same model, loaded for the same bit depth"
            )

    def _note(self, event: GuardEvent, *, redone: int, passed: int) -> None:
        report = self.report
        report.frames_flagged += 1
        report.frames_redone += redone > 0
        report.frames_passed += passed > 0
        report.tiles_flagged += event.tiles
        if len(report.events) < _KEPT:
            report.events.append(event)
        if report.frames_flagged <= _TOLD:
            more = "; further frames are counted only" if report.frames_flagged == _TOLD else ""
            _log.warning("guard: frame %d at %.3f s: %s%s", event.frame, event.pts_seconds, event, more)


def _is_reference(manifest: EngineManifest) -> bool:
    return manifest.precision == "fp32" and manifest.precision_run in ("", "fp32")
