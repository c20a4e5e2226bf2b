"""Tiles: where their windows lie, and which are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from postfilter.runtime.changes import BLOCK, block_grid
from postfilter.runtime.padding import padded_size
from postfilter.runtime.pieces import cut_frame, piece_within
from postfilter.runtime.tile_cover import cheapest_tiles, cuts_over, tilings_for

NETWORKS = [
    {"halo": 14, "multiple": 2, "period": 4},
    {"halo": 9, "multiple": 1, "period": 1},
    {"halo": 7, "multiple": 2, "period": 1},
    {"halo": 20, "multiple": 8, "period": 1},
    {"halo": 5, "multiple": 2, "period": 3},
]
SIZES = [(640, 360), (641, 359), (500, 1082)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", SIZES)
def test_a_window_stays_clear_of_its_edges_but_for_those_of_the_frame(
    network: dict[str, int], size: tuple[int, int]
) -> None:
    width, height = size
    padded = padded_size(width, height, multiple=network["multiple"])
    tilings = tilings_for(width, height, **network)
    assert tilings
    for tiling in tilings:
        side = tiling.blocks * BLOCK
        assert all(length % network["multiple"] == 0 for length in tiling.window)
        for row in range(-(-height // BLOCK)):
            for column in range(-(-width // BLOCK)):
                cut = tiling.cut(row, column)
                for start, first, stop, tile, frame, end, length in (
                    (cut.x, cut.left, cut.right, column, width, padded[0], tiling.window[0]),
                    (cut.y, cut.top, cut.bottom, row, height, padded[1], tiling.window[1]),
                ):
                    assert start % network["multiple"] == start % network["period"] == 0
                    assert 0 <= start <= end - length
                    assert first == 0 if start == 0 else first >= start + network["halo"]
                    assert stop == frame if start + length == end else stop <= start + length - network["halo"]
                    assert first <= tile * BLOCK
                    assert stop >= min(frame, tile * BLOCK + side)


@pytest.mark.parametrize("seed", range(20))
def test_all_that_is_wanted_is_covered_at_the_cost_that_is_told(seed: int) -> None:
    random = np.random.default_rng(seed)
    tilings = tilings_for(1000, 700, halo=14, multiple=2, period=4)
    costs = [0.001, 0.0025]
    wanted = random.random(block_grid((2, 1, 700, 1000))) < random.choice([0.001, 0.02, 0.3])
    wanted[0, :9, 5:30] |= bool(seed % 2)
    chosen = cheapest_tiles(wanted, tilings, costs)
    assert chosen is not None
    assert not (wanted & ~chosen.covered).any()
    assert chosen.cost == pytest.approx(sum(costs[which] for which, _, _ in chosen.tiles))
    kept = np.zeros((2, 700, 1000), dtype=bool)
    for _, index, cut in chosen.tiles:
        kept[index, cut.top : cut.bottom, cut.left : cut.right] = True
    assert kept[chosen.covered.repeat(16, axis=1).repeat(16, axis=2)[:, :700, :1000]].all()


def test_one_large_tile_where_it_costs_less_than_the_small_ones_in_it() -> None:
    tilings = tilings_for(1024, 768, halo=14, multiple=2, period=1)
    small, large = (each.blocks for each in tilings)
    wanted = np.zeros(block_grid((1, 1, 768, 1024)), dtype=bool)
    wanted[0, :large, :large] = True  # four small tiles
    wanted[0, large + small, 0] = True  # and one, elsewhere

    def sizes(costs: list[float]) -> list[int]:
        chosen = cheapest_tiles(wanted, tilings, costs)
        assert chosen is not None
        return sorted(which for which, _, _ in chosen.tiles)

    assert sizes([0.01, 0.03]) == [0, 1]
    assert sizes([0.01, 0.05]) == [0] * 5
    assert cheapest_tiles(wanted, tilings, [0.25, 0.9]) is None  # the whole frame costs less


def test_small_frames_are_not_cut() -> None:
    assert tilings_for(150, 150, halo=14, multiple=2, period=4) == []


def test_pieces_over_what_is_wanted() -> None:
    network = {"halo": 7, "multiple": 2, "period": 1}
    cuts = cut_frame(200, 100, piece=piece_within(200, 100, piece=(70, 50), multiple=2), **network)
    wanted = np.zeros(block_grid((2, 1, 100, 200)), dtype=bool)
    wanted[1, 0, 0] = True
    chosen = cuts_over(wanted, cuts)
    assert chosen is not None
    assert chosen.tiles == ((0, 1, cuts[0]),)
    assert np.array_equal(chosen.covered, wanted)
    assert cuts_over(np.ones_like(wanted), cuts) is None
