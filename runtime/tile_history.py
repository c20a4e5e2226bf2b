"""What is known of the last item of a stream, and of the items before: what of the next one need not be filtered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.runtime.changes import CELL, cell_grid, changed_cells, widened
from postfilter.runtime.tile_moves import Move, find_move, not_moved

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.changes import Cells
    from postfilter.runtime.windows import Windows

__all__ = ["History", "Output", "Seen"]

_PATIENCE = 8
"""After so many items in a row that had to be filtered whole, every so-many-th alone is compared with the one before:
what comparing costs where everything always changes, as in camera footage, comes to nothing. So for moves, too."""

_WORTH_TRYING = 1.5
"""Windows are tried once they are expected to have saved the time of so many whole items. A trial takes about
twenty-five of 1024x768, most of it to compile; a picture of which next to nothing changed twice in a row is one of
many."""

_MUCH = 1 / 8
"""So much of an item must have changed for a move to be looked for."""


class Output:
    """What an item was filtered to, once it is."""

    samples: Samples | None = None

    def samples_or(self, other: Samples) -> Samples:
        """Return it, or another where nothing was filtered yet."""
        return other if self.samples is None else self.samples


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """How an item differs from the one before."""

    needed: Cells
    """Cells whose output is not known."""
    compared: bool = False
    moved: tuple[Cells, Move] | None = None
    """Cells whose output is that of the item before, moved; None where nothing moved."""

    @property
    def altered(self) -> Cells:
        """Cells whose input or output may be another than the item before has there."""
        return self.needed if self.moved is None else self.needed | self.moved[0]


class History:
    """Follows the items of one stream.

    Args:
        shape: [N, C or more, H, W] of each.
        windows: how they are filtered in part.
        halo: receptive-field radius in samples.
    """

    def __init__(self, shape: tuple[int, ...], windows: Windows, *, halo: int) -> None:
        self.shape = shape
        self.windows = windows
        self.output = Output()
        """Of the last item."""
        self.missing: Cells = np.ones(cell_grid(shape), dtype=np.bool_)
        """Cells whose output is not what the last input gives, since they were kept."""
        self.kept = False
        """Whether some of the last item's were."""
        self._halo = halo
        self._before: Samples | None = None
        """A copy of an input, the last one where `_comparing` says so: its owner may write into it."""
        self._comparing = False
        self._comparison, self._search = _Patience(), _Patience()
        self._saved = 0.0

    def look(self, samples: Samples) -> Seen:
        """Compare an item with the one before, and remember it."""
        before = self._before if self._comparing else None
        changed = None if before is None else changed_cells(before, samples)
        seen = Seen(needed=np.ones_like(self.missing))
        if before is not None and changed is not None:
            seen = self._moved(before, samples, self.missing | widened(changed, self._halo))
        self._comparing = self._comparison.has()
        if self._comparing:
            self._keep(samples, changed)
        return seen

    def _keep(self, samples: Samples, changed: Cells | None) -> None:
        """Remember an item, of which only the changed rows are written where the one before is remembered."""
        if self._before is None:
            self._before = samples.copy()
            return
        rows = slice(None)
        if changed is not None:
            found = np.flatnonzero(changed.any(axis=(0, 2)))
            rows = slice(found[0] * CELL, (found[-1] + 1) * CELL) if len(found) else slice(0)
        self._before[:, :, rows] = samples[:, :, rows]

    def saw(self, seen: Seen, *, gain: bool) -> None:
        """Learn whether comparing an item gained anything."""
        if seen.compared:
            self._comparison.learn(gain=gain)

    def time_to_try(self, wanted: Cells) -> bool:
        """Whether so much could have been saved by now that windows should be tried."""
        saving = self.windows.expected_saving(wanted)
        self._saved += saving
        return saving > 0 and self._saved >= _WORTH_TRYING

    def _moved(self, before: Samples, samples: Samples, needed: Cells) -> Seen:
        grid = self.windows.grid
        if grid is not None and needed.mean() > _MUCH and self._search.has():
            move = find_move(before, samples, grid=grid)
            self._search.learn(gain=move is not None)
            if move is not None:
                left = needed & not_moved(before, samples, move, halo=self._halo, missing=self.missing)
                return Seen(needed=left, compared=True, moved=(needed & ~left, move))
        return Seen(needed=needed, compared=True)


class _Patience:
    """Says when to do what often is for nothing: always, and after `_PATIENCE` misses in a row now and then."""

    def __init__(self) -> None:
        self._turn = 0
        self._misses = 0

    def has(self) -> bool:
        self._turn += 1
        return self._misses < _PATIENCE or self._turn % _PATIENCE == 0

    def learn(self, *, gain: bool) -> None:
        self._misses = 0 if gain else self._misses + 1
