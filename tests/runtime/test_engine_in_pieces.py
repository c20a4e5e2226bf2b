"""Frames in pieces give the output of whole frames, on every backend of a bare CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.runtime import Engine, load_engine, measure_memory

Planes = Callable[..., NDArray[Any]]

# The network reaches 7 samples far. Each sample is the sum of the same products; a backend may add them in another
# order for another shape, and a sum within 1e-6 of a half is then rounded the other way: by one code, in few samples.
SHARE_OFF = 0.0005
SAMPLES_OFF = 3
SIZES = [(64, 48), (63, 48), (64, 47), (131, 97), (33, 21), (17, 150), (150, 17), (2, 2), (1, 1)]
PIECES = [(24, 20), (32, 32), (40, 1000), (1000, 24)]


def agree(got: NDArray[Any], expected: NDArray[Any]) -> bool:
    difference = np.abs(got.astype(np.int32) - expected.astype(np.int32))
    off = int(np.count_nonzero(difference))
    same_kind = (got.shape, got.dtype) == (expected.shape, expected.dtype)
    return same_kind and difference.max() <= 1 and off <= max(SAMPLES_OFF, SHARE_OFF * difference.size)


def with_halo(make_engine: Callable[..., Path], name: str = "pieces", **fields: Any) -> Path:
    return make_engine(name, **({"halo": 7} | fields))


@pytest.fixture
def folder(make_engine: Callable[..., Path]) -> Path:
    return with_halo(make_engine)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime", "torch"])
def test_the_output_is_that_of_the_whole_frame_at_any_size(
    engines_of_each_backend: dict[str, Path], planes: Planes, backend: str
) -> None:
    # These engines say 6: with strides of 2 the samples that reach 7 are never the outermost that are kept.
    folder = engines_of_each_backend[backend]
    with load_engine(folder, threads=2) as whole:
        for piece in PIECES:
            with load_engine(folder, threads=2, piece=piece) as pieces:
                assert pieces.piece == piece
                for width, height in SIZES:
                    given = planes(width, height, seed=width)
                    filtered = pieces(given)
                    assert agree(filtered, whole(given)), (piece, width, height)
                    assert filtered.flags.c_contiguous


def test_it_is_the_halo_that_makes_it_so(make_engine: Callable[..., Path], planes: Planes) -> None:
    """With a halo that is too small the seams show: the comparison above can fail."""
    given = planes(131, 97)
    with (
        load_engine(with_halo(make_engine, "short", halo=2)) as short,
        load_engine(with_halo(make_engine, "short-pieces", halo=2), piece=(32, 32)) as pieces,
    ):
        assert not agree(pieces(given), short(given))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("requests", [1, 2, 5])
def test_a_stream_in_pieces_keeps_order_and_each_output_is_new(
    make_engine: Callable[..., Path], planes: Planes, channels: int, requests: int
) -> None:
    folder = with_halo(make_engine, channels=channels)
    sizes = itertools.islice(itertools.cycle([(64, 48), (31, 21), (90, 70), (16, 16)]), 11)
    given = [planes(*size, channels=channels, seed=seed) for seed, size in enumerate(sizes)]
    given[3].flags.writeable = False
    copies = [each.copy() for each in given]
    with load_engine(folder) as whole, load_engine(folder, piece=(32, 32), requests=requests) as engine:
        streamed = list(engine.stream(iter(given)))
        assert len(streamed) == len(given)
        assert all(agree(output, whole(each)) for output, each in zip(streamed, given, strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(given, copies, strict=True))
        assert not any(np.shares_memory(a, b) for a, b in itertools.combinations([*streamed, *given], 2))


def test_frames_of_a_batch_and_deep_samples(folder: Path, planes: Planes) -> None:
    batch = planes(70, 50, frames=3, bit_depth=10)
    with load_engine(folder, bit_depth=10) as whole, load_engine(folder, bit_depth=10, piece=(32, 32)) as engine:
        assert np.abs(engine(batch).astype(int) - whole(batch)).max() <= 1
        (streamed,) = engine.stream([batch])
        assert np.array_equal(streamed, engine(batch))


def test_a_stream_of_large_frames_is_pulled_no_further_than_one_ahead(folder: Path, planes: Planes) -> None:
    pulled = 0

    def source() -> Any:
        nonlocal pulled
        for seed in range(6):
            pulled += 1
            yield planes(90, 70, seed=seed)

    with load_engine(folder, piece=(32, 32), requests=4) as engine:
        for taken, _ in enumerate(engine.stream(source()), start=1):
            assert pulled <= taken + 1


def test_an_error_in_a_stream_comes_after_the_frames_before_it(folder: Path, planes: Planes) -> None:
    with load_engine(folder, piece=(32, 32)) as engine:
        outputs = engine.stream([planes(90, 70), planes(90, 70), planes(90, 70, channels=3)])
        assert next(outputs).shape == next(outputs).shape == (1, 1, 70, 90)
        with pytest.raises(InputError, match="shape"):
            next(outputs)


def test_what_engine_json_says_is_used_unless_told_otherwise(make_engine: Callable[..., Path]) -> None:
    folder = with_halo(make_engine, piece=(33, 24))

    def pieces(**options: Any) -> Any:
        with load_engine(folder, **options) as engine:
            return engine.piece_for(width=101, height=22), engine.piece_for(width=101, height=60)

    # Rounded up to the size multiple, and no larger than the frame.
    assert pieces() == ((34, 22), (34, 24))
    assert pieces(piece="whole") == (None, None)
    assert pieces(piece=(200, 32)) == (None, (102, 32))


def test_the_layers_are_those_of_a_piece_and_their_times_those_of_the_frame(folder: Path, planes: Planes) -> None:
    with load_engine(folder, piece=(100, 100), layer_times=True, threads=1) as engine:
        engine(planes(500, 500))
        layers = engine.layers(width=500, height=500)
        alone = engine.layers(width=100, height=100)
    assert [each.name for each in layers] == [each.name for each in alone]
    assert all(one.ms and many.ms == pytest.approx(one.ms * 36) for one, many in zip(alone, layers, strict=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"piece": "large"}, "'auto' or 'whole'"),
        ({"piece": (32, 0)}, "above 0"),
        ({"piece": (32,)}, "above 0"),
        ({"memory_limit_mb": 0}, "above 0"),
        ({"memory_limit_mb": float("nan")}, "above 0"),
    ],
)
def test_what_is_no_piece_and_no_limit_is_refused(folder: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_engine(folder, **options)


def test_a_piece_below_the_reach_is_told_with_the_smallest(folder: Path, planes: Planes) -> None:
    with load_engine(folder, piece=(14, 64)) as engine:
        assert engine(planes(10, 10)).shape == (1, 1, 10, 10)  # no need to cut
        with pytest.raises(InputError, match="at least 16 samples"):
            engine(planes(100, 100))


def test_an_engine_of_one_size_is_cut_where_the_backend_can(make_engine: Callable[..., Path], planes: Planes) -> None:
    given = planes(96, 64)
    with (
        load_engine(with_halo(make_engine, "fixed", size=(96, 64)), piece=(32, 32)) as engine,
        load_engine(with_halo(make_engine, "free")) as whole,
    ):
        assert agree(engine(given), whole(given))
    with pytest.raises(InputError, match="96x64 alone"):
        load_engine(with_halo(make_engine, "ort", size=(96, 64), backend="onnxruntime"), piece=(32, 32))


def test_a_memory_limit_chooses_the_largest_piece_that_fits(folder: Path) -> None:
    def piece(limit: float | None, **options: Any) -> tuple[int, int] | None:
        with load_engine(folder, memory_limit_mb=limit, **options) as engine:
            return engine.piece_for(width=3840, height=2160)

    def samples(limit: float) -> int:
        wide, high = piece(limit) or (3840, 2160)
        return wide * high

    assert piece(None) is None and piece(4000) is None
    assert samples(90) < samples(130) < samples(200) < 3840 * 2160
    assert piece(200, piece=(64, 64)) == (64, 64)
    # More at a time leave less for each; with a limit it is one unless asked for.
    assert piece(90, requests=1) == piece(90)
    wide, high = piece(90, requests=4) or (3840, 2160)
    assert wide * high < samples(90)
    with pytest.raises(InputError, match=r"limit is 20 MB.*at least \d+ MB"):
        piece(20)
    with pytest.raises(InputError, match="whole takes about"):
        piece(90, piece="whole")


def test_memory_stays_under_its_limit_and_below_whole_frames(make_engine: Callable[..., Path]) -> None:
    cost = {"cost": {"kmac_per_px": 0.2, "activation_bytes_per_px": 20.0}}
    folder = with_halo(make_engine, "limited", **cost)
    for stream in (False, True):
        whole = measure_memory(folder, width=3840, height=2160, frames=5, stream=stream, piece="whole")
        limited = measure_memory(folder, width=3840, height=2160, frames=5, stream=stream, memory_limit_mb=80)
        assert limited.peak_mb <= 80 < whole.peak_mb
        assert limited.compile_mb <= limited.peak_mb
        assert 0 < limited.settled_mb <= limited.peak_mb


def test_an_open_engine_is_what_load_engine_returns(folder: Path) -> None:
    with load_engine(folder, piece=(32, 32)) as engine:
        assert isinstance(engine, Engine)
        engine.prepare(width=100, height=100, stream=True)
        assert engine.execution(width=100, height=100).precision_run == "fp32"
