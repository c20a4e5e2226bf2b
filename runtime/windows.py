"""The ways to filter a part of the planes of one shape: in canvases that were tried, or in the engine's own pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from postfilter.runtime.jobs import Part
from postfilter.runtime.piece_rule import RESHAPING, geometry
from postfilter.runtime.tile_canvas import Canvas, canvases_for
from postfilter.runtime.tile_cover import Chosen, cheapest_windows, cuts_over
from postfilter.runtime.tile_job import SMALL
from postfilter.runtime.tile_trial import Trial, try_canvases

if TYPE_CHECKING:
    from postfilter.runtime.backend import Compiled
    from postfilter.runtime.changes import Cells
    from postfilter.runtime.engine import Engine
    from postfilter.runtime.pieces import Cut

__all__ = ["CanvasWindows", "NoWindows", "PieceWindows", "Windows", "windows_for"]

_OVERHEAD = 1.5
"""What a window is expected to take, for its size, before it was tried: small ones take longer for each sample."""


class Windows(Protocol):
    """Says which parts to filter so that certain cells are filtered."""

    reason: str | None
    """Why there are none."""
    grid: int | None
    """Where the picture moves by a multiple of it, its output does, bit for bit; None where that is not tried."""

    def expected_saving(self, wanted: Cells) -> float:
        """Return the share of the time that windows not tried yet would save; 0 where there are none to try."""
        ...

    def choose(self, wanted: Cells) -> Chosen | None:
        """Return the windows that take the least time; None where the whole planes take less."""
        ...

    def parts(self, chosen: Chosen) -> list[Part]:
        """Return what `PieceJob` takes."""
        ...

    def try_out(self) -> None:
        """Find out what can be used, and what it costs."""
        ...


def windows_for(engine: Engine, shape: tuple[int, ...]) -> Windows:
    """Return the ways in which an engine filters samples of shape [N, C, H, W], further inputs among the C, in part."""
    frames, _, height, width = shape
    piece = engine.piece_for(width=width, height=height)
    if piece is not None:
        return PieceWindows(engine._compiled_for(1, width, height), engine._cuts(width, height, piece), piece)
    if engine.size is not None and engine.manifest.backend not in RESHAPING:
        return NoWindows(f"on {engine.manifest.backend} this engine takes frames of one size alone")
    if engine._compile_network:
        return NoWindows("compile_network takes too long for windows of a frame")
    if engine.memory_limit_mb is not None:
        return NoWindows("the memory limit leaves no room for windows of a frame beside the whole")
    canvases = canvases_for(width, height, **geometry(engine.manifest))
    if not canvases:
        return NoWindows(f"frames of {width}x{height} are too small to be filtered in part")

    def trial() -> Trial:
        return try_canvases(
            canvases,
            shape=shape,
            multiple=engine.size_multiple,
            backend=engine._open_backend(),
            twin=engine._twin,
        )

    return CanvasWindows(canvases, frames, trial)


class NoWindows:
    """Where planes can be filtered whole alone."""

    grid: int | None = None

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def choose(self, wanted: Cells) -> Chosen | None:
        """None: whole."""
        return None

    def expected_saving(self, wanted: Cells) -> float:
        """0: there are none."""
        return 0.0

    def parts(self, chosen: Chosen) -> list[Part]:
        """None of them."""
        return []

    def try_out(self) -> None:
        """Nothing to try."""


class PieceWindows:
    """The pieces in which an engine filters its frames anyway: the same windows, so the same samples."""

    reason: str | None = None
    grid: int | None = None

    def __init__(self, compiled: Compiled, cuts: list[Cut], piece: tuple[int, int]) -> None:
        self._compiled, self._cuts, self._piece = compiled, cuts, piece

    def choose(self, wanted: Cells) -> Chosen | None:
        """See `Windows.choose`."""
        return cuts_over(wanted, self._cuts, self._piece)

    def expected_saving(self, wanted: Cells) -> float:
        """0: there is nothing to try."""
        return 0.0

    def parts(self, chosen: Chosen) -> list[Part]:
        """See `Windows.parts`."""
        return [Part(compiled=self._compiled, size=self._piece, patches=patches) for _, patches in chosen.windows]

    def try_out(self) -> None:
        """Nothing to try."""


class CanvasWindows:
    """Canvases, once they are tried; before that, what they are expected to cost.

    Args:
        canvases: at least one.
        frames: N of the planes.
        trial: tries them.
    """

    def __init__(self, canvases: Sequence[Canvas], frames: int, trial: Callable[[], Trial]) -> None:
        self._canvases = tuple(canvases)
        self._costs = tuple(_expected_cost(each) / frames for each in canvases)
        self._compiled: tuple[Compiled, ...] = ()
        self._trial: Callable[[], Trial] | None = trial
        self.reason: str | None = None
        self.grid: int | None = canvases[0].grid

    def choose(self, wanted: Cells) -> Chosen | None:
        """See `Windows.choose`."""
        return None if self._trial or not self._canvases else cheapest_windows(wanted, self._canvases, self._costs)

    def expected_saving(self, wanted: Cells) -> float:
        """See `Windows.expected_saving`."""
        if self._trial is None:
            return 0.0
        chosen = cheapest_windows(wanted, self._canvases, self._costs)
        return 0.0 if chosen is None else 1 - chosen.cost

    def parts(self, chosen: Chosen) -> list[Part]:
        """See `Windows.parts`."""
        return [
            Part(compiled=self._compiled[which], size=self._canvases[which].size, patches=patches, weight=SMALL)
            for which, patches in chosen.windows
        ]

    def try_out(self) -> None:
        """See `Windows.try_out`; once is enough."""
        if self._trial is not None:
            found = self._trial()
            self._canvases, self._compiled, self._costs = found.canvases, found.compiled, found.costs
            self.reason = found.reason
            self.grid = self.grid if found.canvases else None
            self._trial = None


def _expected_cost(canvas: Canvas) -> float:
    (wide, high), (width, height) = canvas.size, canvas.padded
    return _OVERHEAD * wide * high / (width * height)
