"""What did not change is not filtered again, and the outputs are the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.runtime import Engine, StreamItem, TileReuse, TileUse, load_engine
from postfilter.runtime.changes import block_grid, cell_grid
from postfilter.runtime.windows import CanvasWindows

Planes = Callable[..., NDArray[Any]]
Samples = NDArray[Any]

WIDTH, HEIGHT = 450, 330


@pytest.fixture
def folder(make_engine: Callable[..., Path]) -> Path:
    return make_engine(halo=7)


def screen(first: Samples, *, count: int = 24, seed: int = 0) -> list[Samples]:
    """Frames as a screen gives them: nothing changes, a cursor does, a window, and now and then all of it."""
    random = np.random.default_rng(seed)
    frames = [first]
    height, width = first.shape[2:]
    for number in range(1, count):
        frame = frames[-1].copy()
        if number % 11 == 0:
            frame = np.roll(frame, 3, axis=2)
        elif number % 7 == 3:
            frame[..., height // 4 : height // 2, width // 3 : width // 2] ^= 31
        elif number % 3:
            for y, x in ((0, 0), (height - 2, width - 2), random.integers(0, (height, width))):
                frame[int(random.integers(len(frame))), :, y : y + 2, x : x + 2] ^= 15
        frames.append(frame)
    return frames


def browser(first: Samples, *, count: int = 16, sideways: bool = False, seed: int = 0) -> list[Samples]:
    """Frames as a page gives them that scrolls below a fixed head, up and down, by little and by more than it shows."""
    random = np.random.default_rng(seed)
    frames = [first]
    height, width = first.shape[2:]
    axis = 3 if sideways else 2
    for number in range(1, count):
        frame = frames[-1].copy()
        by = (0, 0, 48, -16, 0, 64, 4, -3, -48, 10**4, 0, 2, 100)[number % 13]
        page = frame[:, :, 40:, :] if number % 5 else frame[:, :, 40:, 8 : width - 20]
        span = page.shape[axis]
        other = random.integers(0, 256, page.shape, dtype=page.dtype)
        if abs(by) < span:
            here, there = np.moveaxis(other, axis, 0), np.moveaxis(page, axis, 0)
            here[max(0, by) : span + min(0, by)] = there[max(0, -by) : span + min(0, -by)].copy()
        page[...] = other
        frame[:, :, height // 2, width // 2] ^= number  # a cursor
        frames.append(frame)
    return frames


def make_windows_cheap(engine: Engine, given: Samples) -> None:
    """Try windows, and take them wherever they have a gain: what they really gain in so small frames is chance."""
    windows = engine._windows_for(given.shape)
    windows.try_out()
    assert isinstance(windows, CanvasWindows)
    windows._costs = tuple(each / 100 for each in windows._costs)


def same(one: list[Samples], other: list[Samples]) -> bool:
    return len(one) == len(other) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_outputs_are_the_same_to_the_bit_on_every_backend(
    engines_of_each_backend: dict[str, Path], planes: Planes, backend: str
) -> None:
    given = screen(planes(WIDTH, HEIGHT))
    with load_engine(engines_of_each_backend[backend], threads=2) as engine:
        reuse = TileReuse()
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
        cells = int(np.prod(cell_grid(given[0].shape)))
        assert reuse.sum.total == len(given) * cells
        assert reuse.sum.kept == 0
        # How much windows of so small a network gain depends on what a call costs.
        assert reuse.sum.reused > 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ({}, {}),
        ({"width": WIDTH + 3, "height": HEIGHT - 5}, {}),
        ({"frames": 2}, {}),
        ({"bit_depth": 10}, {"bit_depth": 10}),
        ({"frames": 2}, {"piece": (120, 80)}),
        ({}, {"memory_limit_mb": 60}),
        ({}, {"requests": 1}),
        ({}, {"requests": 5}),
    ],
    ids=str,
)
def test_whatever_the_planes_and_the_pieces(
    folder: Path, planes: Planes, kind: dict[str, Any], options: dict[str, Any]
) -> None:
    given = screen(planes(**({"width": WIDTH, "height": HEIGHT} | kind)))
    reuse = TileReuse()
    with load_engine(folder, **options) as engine:
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert reuse.sum.reused > 0.4 * reuse.sum.total or "memory limit" in str(reuse.reason)


def test_three_channels(make_engine: Callable[..., Path], planes: Planes) -> None:
    given = screen(planes(WIDTH, HEIGHT, channels=3))
    reuse = TileReuse()
    with load_engine(make_engine(channels=3, halo=7)) as engine:
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert reuse.reason is None
    assert reuse.sum.reused > 0.5 * reuse.sum.total


@pytest.mark.parametrize(
    ("kind", "sideways"),
    [({"frames": 2}, False), ({"channels": 3}, False), ({}, True), ({"bit_depth": 10}, True)],
    ids=str,
)
def test_what_moved_is_not_filtered_again(
    make_engine: Callable[..., Path], planes: Planes, kind: dict[str, Any], sideways: bool
) -> None:
    given = browser(planes(634, 474, **kind), count=27, sideways=sideways)
    reuse = TileReuse()
    path = make_engine(channels=kind.get("channels", 1), halo=7)
    with load_engine(path, bit_depth=kind.get("bit_depth")) as engine:
        make_windows_cheap(engine, given[0])
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert reuse.reason is None
    assert 0.05 * reuse.sum.total < reuse.sum.moved < reuse.sum.reused


def test_what_moved_and_was_kept_is_filtered(folder: Path, planes: Planes) -> None:
    """Below blocks that were left as they came, nothing is known that could move."""
    given = browser(planes(634, 474), count=27)
    reuse = TileReuse()
    with load_engine(folder) as engine:
        items = [
            StreamItem(planes=item.planes, keep=None if item.keep is None else item.keep & (number % 3 > 0))
            for number, item in enumerate(kept_items(given))
        ]
        make_windows_cheap(engine, given[0])
        expected = list(engine.stream(items))
        assert same(list(engine.stream(items, reuse=reuse)), expected)
    assert reuse.sum.moved > 0


def test_another_size_starts_afresh(folder: Path, planes: Planes) -> None:
    sizes = [(WIDTH, HEIGHT), (WIDTH, HEIGHT), (64, 48), (64, 48), (WIDTH, HEIGHT)]
    given = [planes(*size) for size in sizes]
    reuse = TileReuse()
    shares = []
    with load_engine(folder) as engine:
        expected = list(engine.stream(given))
        for output, wanted in zip(engine.stream(given, reuse=reuse), expected, strict=True):
            assert np.array_equal(output, wanted)
            shares.append(reuse.last.reused / reuse.last.total)
    assert shares == [0, 1, 0, 1, 0]


def test_an_unchanged_item_gives_the_same_array_and_all_are_read_only(folder: Path, planes: Planes) -> None:
    given = planes(WIDTH, HEIGHT)
    with load_engine(folder) as engine:
        first, second = engine.stream([given, given.copy()], reuse=TileReuse())
        assert second is first
        with pytest.raises(ValueError, match="read-only"):
            first[...] = 0


def test_inputs_may_be_written_to_once_their_output_has_come(folder: Path, planes: Planes) -> None:
    given = screen(planes(WIDTH, HEIGHT))
    with load_engine(folder) as engine:
        expected = list(engine.stream([each.copy() for each in given]))
        taken = []
        for each, output in zip(given, engine.stream(given, reuse=TileReuse()), strict=True):
            taken.append(output.copy())
            each[...] = 7
    assert same(taken, expected)


def test_windows_that_would_differ_are_found_out(make_engine: Callable[..., Path], planes: Planes) -> None:
    """With a halo that is too small no window gives the samples of the whole frame, and none is used."""
    given = screen(planes(WIDTH, HEIGHT))
    reuse = TileReuse()
    with load_engine(make_engine(halo=2)) as engine:
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert "samples of the whole frame" in str(reuse.reason)
    assert reuse.sum.reused == 0.25 * reuse.sum.total


def test_frames_of_the_one_size_of_an_engine(make_engine: Callable[..., Path], planes: Planes) -> None:
    given = screen(planes(64, 48))
    reuse = TileReuse()
    with load_engine(make_engine(size=(64, 48), backend="onnxruntime", device="cpu", halo=7)) as engine:
        assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert "one size" in str(reuse.reason)
    assert reuse.sum.reused == 0.25 * reuse.sum.total


def kept_items(given: list[Samples], seed: int = 1) -> Iterator[StreamItem]:
    random = np.random.default_rng(seed)
    for number, each in enumerate(given):
        keep = random.random(block_grid(each.shape)) < (0.02, 0.5, 0.98, 1.1)[number // 2 % 4]
        yield StreamItem(planes=each, keep=None if number % 9 == 8 else keep)


@pytest.mark.parametrize("options", [{}, {"piece": (120, 80)}, {"requests": 1}], ids=str)
def test_kept_blocks_leave_as_they_came_and_the_others_as_ever(
    folder: Path, planes: Planes, options: dict[str, Any]
) -> None:
    given = screen(planes(WIDTH, HEIGHT, frames=2), count=30)
    items = list(kept_items(given))
    reuse = TileReuse()
    with load_engine(folder, **options) as engine:
        plain = list(engine.stream(given))
        with_keep = list(engine.stream(items))
        assert same(list(engine.stream(items, reuse=reuse)), with_keep)
    for item, output, whole in zip(items, with_keep, plain, strict=True):
        kept = np.zeros(item.planes.shape, dtype=bool)
        for index, row, column in np.argwhere(item.keep) if item.keep is not None else ():
            kept[index, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = True
        assert np.array_equal(output, np.where(kept, item.planes, whole))
    assert reuse.sum.kept == sum(int(np.count_nonzero(item.kept_cells())) for item in items if item.keep is not None)
    assert 0 < reuse.sum.reused < reuse.sum.total - reuse.sum.kept


def test_what_is_kept_all_over_is_not_filtered(folder: Path, planes: Planes) -> None:
    given = [planes(WIDTH, HEIGHT, seed=seed) for seed in range(3)]
    keep = np.ones(block_grid(given[0].shape), dtype=bool)
    items = [StreamItem(planes=each, keep=keep) for each in given]
    with load_engine(folder) as engine:
        outputs = [*engine.stream(items, reuse=TileReuse()), *engine.stream(items)]
        assert not engine._compiled, "something was made ready for filtering"
    assert same(outputs, given + given)
    assert not any(np.shares_memory(*pair) for pair in zip(outputs, given + given, strict=True))


@pytest.mark.parametrize("keep", [np.ones((1, 2, 3), dtype=bool), np.ones((1, 21, 29), dtype=np.uint8)])
def test_a_keep_that_does_not_fit_is_refused(planes: Planes, keep: Samples) -> None:
    with pytest.raises(InputError, match=r"\(1, 21, 29\)"):
        StreamItem(planes=planes(WIDTH, HEIGHT), keep=keep)


def test_noise_costs_little_and_stillness_after_it_is_noticed(folder: Path, planes: Planes) -> None:
    noise = [planes(64, 48, seed=seed) for seed in range(30)]
    still = [noise[-1]] * 30
    reuse = TileReuse()
    used = []
    with load_engine(folder) as engine:
        for _ in engine.stream([*noise, *still], reuse=reuse):
            used.append(reuse.last.reused)
    assert not any(used[:30])
    assert all(used[-10:])


def test_a_stream_that_was_left_or_failed_leaves_nothing_behind(folder: Path, planes: Planes) -> None:
    given = screen(planes(WIDTH, HEIGHT))
    reuse = TileReuse()
    with load_engine(folder) as engine:
        expected = list(engine.stream(given))
        outputs = engine.stream(given, reuse=reuse)
        for _ in range(5):
            next(outputs)
        outputs.close()
        failing = engine.stream([*given[:9], planes(8, 8, channels=3)], reuse=reuse)
        assert same([next(failing) for _ in range(9)], expected[:9])
        with pytest.raises(InputError, match="shape"):
            next(failing)
        assert same(list(engine.stream(given[3:], reuse=reuse)), expected[3:])


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("fastarcnn-luma", "fp32"),
        *(pytest.param("fastarcnn-luma", each, marks=pytest.mark.slow) for each in ("int8", "fp16", "bf16")),
        *(pytest.param("fastarcnn", each, marks=pytest.mark.slow) for each in ("fp32", "fp16", "bf16", "int8")),
    ],
)
def test_the_shipped_models(tmp_path: Path, planes: Planes, model: str, precision: Any) -> None:
    from postfilter.export import build_engine

    path = build_engine(model, precision=precision, output=tmp_path / "engine").engine
    channels = 1 if model.endswith("luma") else 3
    with load_engine(path) as engine:
        _the_same_in_parts(engine, screen(planes(482, 362, channels=channels), count=16))
        for frames, sideways in ((1, False), (2, True)):
            given = browser(planes(634, 474, channels=channels, frames=frames), count=11, sideways=sideways)
            make_windows_cheap(engine, given[0])
            assert _the_same_in_parts(engine, given).moved > 0


def _the_same_in_parts(engine: Engine, given: list[Samples]) -> TileUse:
    reuse = TileReuse()
    assert same(list(engine.stream(given, reuse=reuse)), list(engine.stream(given)))
    assert reuse.reason is None
    assert reuse.sum.reused > 0.3 * reuse.sum.total
    return reuse.sum
