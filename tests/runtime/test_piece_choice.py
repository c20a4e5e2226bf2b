"""The measured choice of a piece."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from postfilter.errors import InputError
from postfilter.runtime import load_engine
from postfilter.runtime.piece_choice import fastest_piece, spread_pieces
from postfilter.runtime.pieces import computed_share


def test_every_candidate_is_timed_beside_the_whole_frame(make_engine: Callable[..., Path]) -> None:
    folder = make_engine(halo=7)
    told: list[str] = []
    found = fastest_piece(folder, 301, 200, [(64, 64), (63, 63), (400, 300), (150, 200)], rounds=2, on_step=told.append)
    # Equal ones once, rounded up to the size multiple; those as large as the frame are the frame.
    assert [row.piece for row in found.rows] == [None, (64, 64), (150, 200)]
    assert found.rows[0].speedup == found.rows[0].computed_share == 1
    assert all(0 < row.ms <= row.median_ms and row.estimated_mb > 0 for row in found.rows)
    chosen = next(row for row in found.rows if row.piece == found.piece)
    assert chosen.piece is None or (chosen.speedup >= 1.02 and chosen.steady_speedup >= 1)
    assert all(row.steady_speedup <= row.speedup for row in found.rows)
    assert json.loads(json.dumps(found.as_json()))["rows"][1]["piece"] == [64, 64]
    assert any("64x64" in each for each in told)
    with load_engine(folder, piece=found.piece or "whole") as engine:
        assert engine.piece == found.piece


def test_a_candidate_below_the_reach_is_refused(make_engine: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="at least 16"):
        fastest_piece(make_engine(halo=7), 100, 100, [(10, 100)], rounds=1)
    with pytest.raises(InputError, match="at least one"):
        fastest_piece(make_engine(halo=7), 100, 100, [(50, 100)], rounds=0)


def test_where_the_backend_takes_one_size_there_is_no_choice(make_engine: Callable[..., Path]) -> None:
    folder = make_engine(halo=7, size=(100, 80), backend="onnxruntime")
    found = fastest_piece(folder, 100, 80, [(50, 50)], rounds=1)
    assert found.piece is None and len(found.rows) == 1


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 720), (719, 481)])
def test_candidates_are_spread_over_the_sizes(width: int, height: int) -> None:
    pieces = spread_pieces(width, height, halo=14, multiple=2)
    sizes = [wide * high for wide, high in pieces]
    assert 4 <= len(pieces) <= 8
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0.4 * width * height and sizes[-1] < 0.2 * width * height
    assert all(1 < computed_share(width, height, piece=each, halo=14, multiple=2) <= 1.3 for each in pieces)


def test_a_frame_too_small_to_cut_has_no_candidates() -> None:
    assert spread_pieces(20, 20, halo=14, multiple=2) == []
