"""The ways to filter a part of the planes of one shape: in tiles that were tried, or in the engine's own pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from postfilter.runtime.jobs import Part
from postfilter.runtime.piece_rule import RESHAPING, geometry
from postfilter.runtime.tile_cover import Chosen, Tiling, cheapest_tiles, cuts_over, tilings_for
from postfilter.runtime.tile_job import SMALL
from postfilter.runtime.tile_trial import Trial, try_tilings

if TYPE_CHECKING:
    from postfilter.runtime.backend import Compiled
    from postfilter.runtime.changes import Blocks
    from postfilter.runtime.engine import Engine
    from postfilter.runtime.pieces import Cut

__all__ = ["NoWindows", "PieceWindows", "TileWindows", "Windows", "windows_for"]

_OVERHEAD = 1.5
"""What a window is expected to take, for its size, before it was tried: small ones take longer for each sample."""


class Windows(Protocol):
    """Says which parts to filter so that certain blocks are filtered."""

    reason: str | None
    """Why there are none."""
    grid: int | None
    """Where the picture moves by a multiple of it, its output does, bit for bit; None where that is not tried."""

    def expected_saving(self, wanted: Blocks) -> float:
        """Return the share of the time that windows not tried yet would save; 0 where there are none to try."""
        ...

    def choose(self, wanted: Blocks) -> Chosen | None:
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
    tilings = tilings_for(width, height, **geometry(engine.manifest))
    if not tilings:
        return NoWindows(f"frames of {width}x{height} are too small to be filtered in part")

    def trial() -> Trial:
        return try_tilings(
            tilings,
            shape=shape,
            multiple=engine.size_multiple,
            backend=engine._open_backend(),
            twin=engine._twin,
        )

    return TileWindows(tilings, frames, trial)


class NoWindows:
    """Where planes can be filtered whole alone."""

    grid: int | None = None

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def choose(self, wanted: Blocks) -> Chosen | None:
        """None: whole."""
        return None

    def expected_saving(self, wanted: Blocks) -> float:
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

    def choose(self, wanted: Blocks) -> Chosen | None:
        """See `Windows.choose`."""
        return cuts_over(wanted, self._cuts)

    def expected_saving(self, wanted: Blocks) -> float:
        """0: there is nothing to try."""
        return 0.0

    def parts(self, chosen: Chosen) -> list[Part]:
        """See `Windows.parts`."""
        return [Part(compiled=self._compiled, size=self._piece, index=index, cut=cut) for _, index, cut in chosen.tiles]

    def try_out(self) -> None:
        """Nothing to try."""


class TileWindows:
    """Tiles with their margin, once they are tried; before that, what they are expected to cost.

    Args:
        tilings: at least one.
        frames: N of the planes.
        trial: tries them.
    """

    def __init__(self, tilings: Sequence[Tiling], frames: int, trial: Callable[[], Trial]) -> None:
        self._tilings = tuple(tilings)
        self._costs = tuple(_expected_cost(each) / frames for each in tilings)
        self._compiled: tuple[Compiled, ...] = ()
        self._trial: Callable[[], Trial] | None = trial
        self.reason: str | None = None
        self.grid: int | None = tilings[0].grid

    def choose(self, wanted: Blocks) -> Chosen | None:
        """See `Windows.choose`."""
        return None if self._trial or not self._tilings else cheapest_tiles(wanted, self._tilings, self._costs)

    def expected_saving(self, wanted: Blocks) -> float:
        """See `Windows.expected_saving`."""
        if self._trial is None:
            return 0.0
        chosen = cheapest_tiles(wanted, self._tilings, self._costs)
        return 0.0 if chosen is None else 1 - chosen.cost

    def parts(self, chosen: Chosen) -> list[Part]:
        """See `Windows.parts`."""
        return [
            Part(compiled=self._compiled[which], size=self._tilings[which].window, index=index, cut=cut, weight=SMALL)
            for which, index, cut in chosen.tiles
        ]

    def try_out(self) -> None:
        """See `Windows.try_out`; once is enough."""
        if self._trial is not None:
            found = self._trial()
            self._tilings, self._compiled, self._costs = found.tilings, found.compiled, found.costs
            self.reason = found.reason
            self.grid = self.grid if found.tilings else None
            self._trial = None


def _expected_cost(tiling: Tiling) -> float:
    (wide, high), (width, height) = tiling.window, tiling.padded
    return _OVERHEAD * wide * high / (width * height)
