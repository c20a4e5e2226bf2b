"""What of a frame is filtered so that certain cells are: boxes over them, laid out in canvases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from postfilter.runtime.changes import CELL, cell_grid
from postfilter.runtime.jobs import Patch
from postfilter.runtime.pieces import cut_frame, piece_within
from postfilter.runtime.tile_boxes import boxes_over, runs
from postfilter.runtime.tile_canvas import Canvas, canvases_for
from postfilter.runtime.tile_cover import Chosen, cheapest_windows, cuts_over

NETWORKS = [
    {"halo": 14, "multiple": 2, "period": 4},
    {"halo": 9, "multiple": 1, "period": 1},
    {"halo": 7, "multiple": 2, "period": 1},
    {"halo": 20, "multiple": 8, "period": 1},
    {"halo": 5, "multiple": 2, "period": 3},
]
SIZES = [(640, 360), (641, 359), (500, 1082), (1500, 60)]


def wanted_cells(width: int, height: int, *, seed: int, frames: int = 1) -> np.ndarray:
    """Cells strewn about, and a block of them; more with each of three seeds."""
    random = np.random.default_rng(seed)
    wanted = random.random(cell_grid((frames, 1, height, width))) < (0.0005, 0.004, 0.02)[seed % 3]
    wanted[-1, 3:9, 5:30] |= bool(seed % 2)
    wanted[0, -2:, -3:] = True
    return wanted


def kept_samples(chosen: Chosen, frames: int, width: int, height: int) -> np.ndarray:
    kept = np.zeros((frames, height, width), dtype=bool)
    for _, patches in chosen.windows:
        for patch in patches:
            kept[patch.index, patch.cut.top : patch.cut.bottom, patch.cut.left : patch.cut.right] = True
    return kept


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_a_part_is_laid_where_it_becomes_what_the_frame_has(network: dict[str, int], size: tuple[int, int]) -> None:
    canvases = canvases_for(*size, **network)
    assert canvases
    grid = math.lcm(network["multiple"], network["period"])
    for seed in range(6):
        chosen = cheapest_windows(
            wanted_cells(*size, seed=seed), canvases, [0.001 * 3**n for n in range(len(canvases))]
        )
        assert chosen is not None
        for which, patches in chosen.windows:
            canvas = canvases[which]
            assert all(length % network["multiple"] == 0 for length in canvas.size)
            taken = np.zeros(canvas.size[::-1], dtype=int)
            for patch in patches:
                check_patch(canvas, patch, network["halo"], grid)
                (x, y), (wide, high) = patch.at, patch.size
                taken[y : y + high, x : x + wide] += 1
                assert taken[y : y + high, x : x + wide].shape == (high, wide)
            assert taken.max() == 1


def check_patch(canvas: Canvas, patch: Patch, halo: int, grid: int) -> None:
    cut = patch.cut
    for at, start, length, first, stop, axis in (
        (patch.at[0], cut.x, patch.size[0], cut.left, cut.right, 0),
        (patch.at[1], cut.y, patch.size[1], cut.top, cut.bottom, 1),
    ):
        assert start % grid == at % grid == 0
        assert start <= first < stop <= canvas.frame[axis]
        if start == 0:
            assert at == 0  # the network pads here, as it does in the frame
        else:
            assert first - start >= halo
        if start + length == canvas.padded[axis]:
            assert at + length == canvas.size[axis]
        else:
            assert start + length - stop >= halo


@pytest.mark.parametrize("seed", range(12))
def test_all_that_is_wanted_is_covered_at_the_cost_that_is_told(seed: int) -> None:
    canvases = canvases_for(1000, 700, halo=14, multiple=2, period=4)
    costs = [0.001, 0.0025, 0.007]
    wanted = wanted_cells(1000, 700, seed=seed, frames=2)
    chosen = cheapest_windows(wanted, canvases, costs)
    assert chosen is not None
    assert not (wanted & ~chosen.covered).any()
    assert chosen.cost == pytest.approx(sum(costs[which] for which, _ in chosen.windows))
    kept = kept_samples(chosen, 2, 1000, 700)
    assert kept[chosen.covered.repeat(CELL, axis=1).repeat(CELL, axis=2)[:, :700, :1000]].all()


def test_the_canvas_that_costs_least_is_taken() -> None:
    canvases = canvases_for(1024, 768, halo=14, multiple=2, period=1)
    wanted = np.zeros(cell_grid((1, 1, 768, 1024)), dtype=bool)

    def taken(costs: list[float]) -> list[int] | None:
        chosen = cheapest_windows(wanted, canvases, costs)
        return None if chosen is None else sorted(which for which, _ in chosen.windows)

    assert taken([0.01, 0.03, 0.1]) == []
    wanted[0, 40, 40] = True
    assert taken([0.01, 0.03, 0.1]) == [0]
    wanted[0, 20:34, 20:34] = True  # more than the smallest holds
    assert taken([0.01, 0.03, 0.1]) in ([1], [0, 1])
    wanted[0, 20:46, 20:46] = True  # more than the second holds
    assert taken([0.1, 0.11, 0.111]) == [2]
    assert taken([1.0, 1.0, 1.0]) is None  # the whole frame costs no more
    wanted[...] = True
    assert taken([0.02, 0.05, 0.2]) is None


@pytest.mark.parametrize("corner", [(0, 0), (40, 40), (0, 122), (90, 0), (90, 122)])
def test_what_the_smallest_canvas_holds_is_one_part(corner: tuple[int, int]) -> None:
    canvases = canvases_for(1024, 768, halo=14, multiple=2, period=4)
    wanted = np.zeros(cell_grid((2, 1, 768, 1024)), dtype=bool)
    row, column = corner
    wanted[1, row, column] = wanted[1, row + 5, column + 5] = True
    chosen = cheapest_windows(wanted, canvases, [0.01, 0.03, 0.1])
    assert chosen is not None
    ((which, (patch,)),) = chosen.windows
    assert which == 0 and chosen.cost == 0.01
    check_patch(canvases[0], patch, 14, 4)
    kept = kept_samples(chosen, 2, 1024, 768)
    assert np.array_equal(kept, chosen.covered.repeat(CELL, axis=1).repeat(CELL, axis=2))
    assert not (wanted & ~chosen.covered).any() and np.count_nonzero(chosen.covered) == 36


def test_boxes_cover_the_cells_and_are_joined_where_that_costs_less() -> None:
    cells = np.zeros((40, 60), dtype=bool)
    cells[3:20, 5:7] = cells[4:6, 9:12] = cells[30:35, 50:] = True
    assert sorted(runs(cells).tolist()) == [[5, 3, 7, 20], [9, 4, 12, 6], [50, 30, 60, 35]]
    apart, joined = (sorted(boxes_over(cells, margin=margin, each=0)) for margin in (0, 5))
    assert apart == [((5, 7), (3, 20)), ((9, 12), (4, 6)), ((50, 60), (30, 35))]
    assert joined == [((5, 12), (3, 20)), ((50, 60), (30, 35))]
    assert boxes_over(np.zeros_like(cells), margin=2, each=4) == []


def test_so_many_scattered_cells_that_larger_ones_are_looked_at() -> None:
    cells = np.random.default_rng(0).random((95, 127)) < 0.1
    covered = np.zeros_like(cells)
    for columns, rows in boxes_over(cells, margin=0, each=0):
        assert columns[1] <= 127 and rows[1] <= 95
        covered[slice(*rows), slice(*columns)] = True
    assert not (cells & ~covered).any()


def test_small_frames_are_not_cut() -> None:
    assert canvases_for(150, 150, halo=14, multiple=2, period=4) == []


def test_pieces_over_what_is_wanted() -> None:
    network = {"halo": 7, "multiple": 2, "period": 1}
    piece = piece_within(200, 100, piece=(70, 50), multiple=2)
    cuts = cut_frame(200, 100, piece=piece, **network)
    wanted = np.zeros(cell_grid((2, 1, 100, 200)), dtype=bool)
    wanted[1, 0, 0] = True
    chosen = cuts_over(wanted, cuts, piece)
    assert chosen is not None
    assert chosen.windows == ((0, (Patch(index=1, cut=cuts[0], size=piece),)),)
    assert np.array_equal(chosen.covered, wanted)
    assert cuts_over(np.ones_like(wanted), cuts, piece) is None
