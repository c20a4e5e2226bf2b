"""What the guard says of a frame: real damage is seen where it is, filtering and odd content are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.video.filtering.tile_statistics import tile_spans, tile_statistics
from postfilter.video.filtering.verdict import LUMA_LIMITS, RGB_LIMITS, Verdict, judge

Samples = NDArray[np.uint8] | NDArray[np.uint16]


@pytest.fixture
def plane(photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(photograph[:256, :256, 1])[None, None]


def _judged(before: Samples, after: Samples, *, bit_depth: int = 8) -> Verdict | None:
    limits = LUMA_LIMITS if before.shape[1] == 1 else RGB_LIMITS
    return judge(before, after, bit_depth=bit_depth, limits=limits)


def _smoothed(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rolled = np.roll(plane, 1, axis=3).astype(int)
    return ((6 * plane.astype(int) + rolled + np.roll(plane, -1, axis=3)) // 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "spans"),
    [
        (1, [(0, 1)]),
        (95, [(0, 95)]),
        (96, [(0, 64), (64, 96)]),
        (159, [(0, 64), (64, 159)]),
        (160, [(0, 64), (64, 128), (128, 160)]),
    ],
)
def test_tiles_cover_an_axis_once(size: int, spans: list[tuple[int, int]]) -> None:
    assert tile_spans(size) == spans


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 480, 720), (2, 3, 97, 131), (1, 1, 2, 3), (1, 1, 1, 40), (1, 1, 40, 1)])
def test_statistics_are_those_of_the_tiles(dtype: type, shape: tuple[int, ...]) -> None:
    drawn = np.random.default_rng(5).integers(0, np.iinfo(dtype).max, (2, *shape), dtype=dtype, endpoint=True)
    before, after = drawn
    seen = tile_statistics(before, after)
    height, width = shape[2:]
    rows, columns = tile_spans(height), tile_spans(width)
    assert seen.change.shape == (*shape[:2], len(rows), len(columns))
    assert seen.largest_change == np.abs(before.astype(int) - after).max()
    plane = before[-1, -1].astype(int)
    for r, (top, bottom) in enumerate(rows):
        for c, (left, right) in enumerate(columns):
            looked_at = [y for y in range(0, max(height - 1, 1), 5) if top <= y < bottom]
            change = np.abs(before[-1, -1].astype(int) - after[-1, -1])[looked_at, left:right]
            assert seen.change[-1, -1, r, c] == pytest.approx(change.mean())
            assert seen.mean_before[-1, -1, r, c] == pytest.approx(plane[looked_at, left:right].mean())
            if min(height, width) > 1:
                y, x = np.array(looked_at)[:, None], np.arange(left, min(right, width - 1))
                detail = np.abs(plane[y, x] - plane[y, x + 1]) + np.abs(plane[y, x] - plane[y + 1, x])
                expected = np.minimum(detail, np.iinfo(dtype).max).mean()
                assert seen.detail_before[-1, -1, r, c] == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 480, 720), (2, 3, 197, 331), (1, 1, 2, 3)])
def test_statistics_of_what_was_altered_join_those_of_the_rest(dtype: type, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(6)
    before, after = random.integers(0, 900 if dtype is np.uint16 else 255, (2, *shape), dtype=dtype)
    seen = tile_statistics(before, after)
    for y, x in [(0, 0), (63, 64), (64, 127), (196, 70), (90, 330), (256, 10), (470, 600)]:
        if y >= shape[2] or x >= shape[3]:
            continue
        cells = np.zeros((shape[0], -(-shape[2] // 8), -(-shape[3] // 8)), np.bool_)
        cells[-1, y // 8, x // 8] = True
        for each in (before, after):
            cell = each[-1, :, y // 8 * 8 : y // 8 * 8 + 8, x // 8 * 8 : x // 8 * 8 + 8]
            cell[...] = random.integers(0, 200, cell.shape, dtype=dtype)
        seen = tile_statistics(before, after, last=seen, altered=cells)
        whole = tile_statistics(before, after)
        for name in ("change", "mean_before", "mean_after", "detail_before", "detail_after"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(whole, name))
        assert seen.largest_change >= whole.largest_change


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_each_kind_of_damage_is_seen_and_named(plane: NDArray[np.uint8], bit_depth: int) -> None:
    scale = 1 << (bit_depth - 8)
    peak = (1 << bit_depth) - 1
    before = plane.astype(np.uint8 if bit_depth == 8 else np.uint16) * scale
    rows, columns = np.mgrid[:256, :256]
    checks = (4 * scale * ((rows + columns) % 2 * 2 - 1)).astype(int)
    damaged = {
        "black": np.zeros_like(before),
        "flat": np.full_like(before, int(before.mean())),
        "shifted in brightness": np.clip(before.astype(int) + 12 * scale, 0, peak - 1),
        "clipped": np.full_like(before, peak),
        "noise added": np.clip(before + 2 * checks, 1, peak - 1),
        "changed too much": before.reshape(1, 1, 256, 4, 64)[..., ::-1].reshape(before.shape),
    }
    for reason, after in damaged.items():
        verdict = _judged(before, after.astype(before.dtype), bit_depth=bit_depth)
        assert verdict is not None, reason
        assert verdict.reason == reason


def test_a_single_damaged_tile_is_told_by_its_place(plane: NDArray[np.uint8]) -> None:
    after = _smoothed(plane)
    after[0, 0, 64:128, 128:192] = np.clip(after[0, 0, 64:128, 128:192].astype(int) + 8, 0, 255)
    verdict = _judged(plane, after)
    assert verdict is not None
    assert verdict.boxes(256, 256) == [(0, slice(64, 128), slice(128, 192))]


def test_a_frame_that_is_slightly_wrong_everywhere_is_flagged_whole(photograph: NDArray[np.uint8]) -> None:
    before = np.ascontiguousarray(photograph[:256, :256].transpose(2, 0, 1))[None]
    after = np.clip(before.astype(int) + 6, 0, 255).astype(np.uint8)
    verdict = _judged(before, after)
    assert verdict is not None and verdict.count == 16
    one_tile = before.copy()
    one_tile[..., :64, :64] = after[..., :64, :64]
    assert _judged(before, one_tile) is None


def test_a_single_impossible_sample_is_seen() -> None:
    before = np.full((1, 1, 100, 200), 40, np.uint8)
    after = before.copy()
    after[0, 0, 70, 190] = 200
    verdict = _judged(before, after)
    assert verdict is not None
    assert verdict.reason == "samples changed too much"
    assert verdict.count == 1


def test_filtering_is_fine(plane: NDArray[np.uint8]) -> None:
    assert _judged(plane, _smoothed(plane)) is None
    assert _judged(plane, plane) is None


@pytest.mark.parametrize("value", [0, 16, 128, 235, 255])
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (2, 3, 64, 96)])
def test_frames_of_one_value_may_stay_so(value: int, shape: tuple[int, ...]) -> None:
    flat = np.full(shape, value, np.uint8)
    assert _judged(flat, flat) is None
    assert _judged(flat, np.clip(flat.astype(int) + 1, 0, 255).astype(np.uint8)) is None


def test_noise_may_be_taken_off(photograph: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(3).integers(-1, 2, (1, 1, 128, 128))
    assert _judged((100 + noise).astype(np.uint8), np.full(noise.shape, 100, np.uint8)) is None
