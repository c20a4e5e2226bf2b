"""The geometry of pieces, at sizes that fit and sizes that do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.runtime.padding import padded_size
from postfilter.runtime.pieces import candidate_pieces, computed_share, cut_frame, piece_within, smallest_piece

FRAMES = [(1, 1), (16, 16), (63, 47), (64, 48), (100, 31), (127, 129), (320, 33), (1920, 1080)]
PIECES = [(40, 40), (48, 1080), (64, 36), (100, 100), (152, 992), (4000, 40)]
NETWORKS = [(0, 1, 1), (6, 2, 1), (9, 1, 4), (14, 2, 2), (14, 2, 4), (15, 4, 4), (7, 8, 4), (10, 2, 3)]
"""(halo, multiple, period)."""


@pytest.mark.parametrize(("halo", "multiple", "period"), NETWORKS)
@pytest.mark.parametrize(("width", "height"), FRAMES)
def test_each_sample_is_kept_once_and_out_of_reach_of_inner_edges(
    width: int, height: int, halo: int, multiple: int, period: int
) -> None:
    wide, high = padded_size(width, height, multiple=multiple)
    for wanted in PIECES:
        if any(side < smallest_piece(halo=halo, multiple=multiple, period=period) for side in wanted):
            continue
        piece = piece_within(width, height, piece=wanted, multiple=multiple, period=period)
        cuts = cut_frame(width, height, piece=piece, halo=halo, multiple=multiple, period=period)
        times = np.zeros((height, width), int)
        for cut in cuts:
            times[cut.top : cut.bottom, cut.left : cut.right] += 1
            # Windows lie inside the padded frame, on the grid of the network's strides.
            assert 0 <= cut.x <= wide - piece[0] and 0 <= cut.y <= high - piece[1]
            assert cut.x % multiple == cut.y % multiple == cut.x % period == cut.y % period == 0
            assert piece[0] % multiple == piece[1] % multiple == 0
            assert cut.left < cut.right and cut.top < cut.bottom
            assert computed_share(
                width, height, piece=piece, halo=halo, multiple=multiple, period=period
            ) == pytest.approx(len(cuts) * piece[0] * piece[1] / (wide * high))
            for start, first, stop, side, frame, padded in (
                (cut.x, cut.left, cut.right, piece[0], width, wide),
                (cut.y, cut.top, cut.bottom, piece[1], height, high),
            ):
                assert first - start >= halo if start > 0 else first == 0
                assert start + side - stop >= halo if start + side < padded else stop == frame
        assert (times == 1).all()


def test_a_frame_no_larger_than_the_piece_is_not_cut() -> None:
    (cut,) = cut_frame(63, 47, piece=(64, 48), halo=14, multiple=2)
    assert (cut.x, cut.y, cut.left, cut.top, cut.right, cut.bottom) == (0, 0, 0, 0, 63, 47)
    assert piece_within(63, 47, piece=(999, 999), multiple=2) == (64, 48)


@pytest.mark.parametrize(("halo", "multiple", "period"), NETWORKS)
def test_the_smallest_piece_cuts_and_a_smaller_one_is_refused(halo: int, multiple: int, period: int) -> None:
    least = smallest_piece(halo=halo, multiple=multiple, period=period)
    geometry = {"halo": halo, "multiple": multiple, "period": period}
    piece = piece_within(480, 480, piece=(least, 480), multiple=multiple, period=period)
    assert least <= piece[0] < least + period * multiple
    assert len(cut_frame(480, 480, piece=piece, **geometry)) > 1
    if least > multiple:
        with pytest.raises(InputError, match=f"at least {least} samples"):
            cut_frame(480, 480, piece=(480, least - multiple), **geometry)


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (719, 481), (64, 48), (1, 1)])
def test_candidates_waste_nothing_that_their_number_does_not_need(width: int, height: int) -> None:
    pieces = candidate_pieces(width, height, halo=14, multiple=2)
    assert pieces[0] == padded_size(width, height, multiple=2)
    assert len(set(pieces)) == len(pieces)
    shares = [computed_share(width, height, piece=piece, halo=14, multiple=2) for piece in pieces]
    assert shares == sorted(shares) and shares[0] == 1
    for (wide, high), cuts in itertools.islice(
        ((piece, len(cut_frame(width, height, piece=piece, halo=14, multiple=2))) for piece in pieces), 1, 40
    ):
        for less in ((wide - 2, high), (wide, high - 2)):
            if less[0] >= 30 and less[1] >= 30:
                assert len(cut_frame(width, height, piece=less, halo=14, multiple=2)) > cuts
