"""One suite over every backend that runs on a bare CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import ArtefactError, InputError, UnknownNameError
from postfilter.runtime import Engine, load_engine

Planes = Callable[..., NDArray[Any]]

BACKENDS = ("openvino", "onnxruntime", "torch")

# All compute in float32 and round at the end: where a sum comes next to one half, the order of additions decides. The
# errors are near 1e-6 of the peak, so at 12 bits one sample in some hundreds may turn over, by one code value.
TOLERANCE = 1
SHARE_OFF = 0.002
SAMPLES_OFF = 3


@pytest.fixture(params=BACKENDS)
def folder(request: pytest.FixtureRequest, engines_of_each_backend: dict[str, Path]) -> Path:
    return engines_of_each_backend[request.param]


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with load_engine(folder, threads=2) as engine:
        yield engine


def agree(got: NDArray[Any], expected: NDArray[Any]) -> bool:
    difference = np.abs(got.astype(np.int32) - expected.astype(np.int32))
    same_kind = (got.shape, got.dtype) == (expected.shape, expected.dtype)
    off = int(np.count_nonzero(difference))
    return same_kind and difference.max() <= TOLERANCE and off <= max(SAMPLES_OFF, SHARE_OFF * difference.size)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (33, 21), (1, 1)])
def test_any_size_is_filtered_as_its_edge_padded_self(
    engine: Engine, folder: Path, planes: Planes, reference: Planes, width: int, height: int
) -> None:
    given = planes(width, height)
    filtered = engine(given)
    assert agree(filtered, reference(folder, given))
    if width > 1:
        assert np.abs(filtered.astype(int) - given).max() > 20, "the test's network hardly changes its input"


@pytest.mark.parametrize("bit_depth", [10, 12])
def test_deeper_samples_keep_their_depth(folder: Path, planes: Planes, reference: Planes, bit_depth: int) -> None:
    with load_engine(folder, bit_depth=bit_depth) as engine:
        given = planes(35, 22, bit_depth=bit_depth)
        assert (engine.dtype, engine.bit_depth) == (np.uint16, bit_depth)
        filtered = engine(given)
        assert agree(filtered, reference(folder, given, bit_depth=bit_depth))
        assert filtered.max() == 2**bit_depth - 1


def test_black_and_white_look_the_same_at_every_depth(folder: Path) -> None:
    """The two codes that both depths have exactly: the network then sees the same, and only rounding differs."""
    mask = np.random.default_rng(3).integers(0, 2, (1, 1, 32, 48))
    with load_engine(folder) as eight, load_engine(folder, bit_depth=10) as ten:
        low = eight((mask * 255).astype(np.uint8)) / 255
        high = ten((mask * 1023).astype(np.uint16)) / 1023
    assert np.abs(low - high).max() <= 0.5 / 255 + 0.5 / 1023 + 1e-6


def test_frames_of_a_batch_are_filtered_each_for_itself(engine: Engine, planes: Planes) -> None:
    batch = planes(32, 24, frames=3)
    together = engine(batch)
    assert agree(together, np.concatenate([engine(batch[index : index + 1]) for index in range(3)]))


def test_rgb_planes(make_engine: Callable[..., Path], planes: Planes, reference: Planes) -> None:
    folder = make_engine(channels=3)
    with load_engine(folder) as engine:
        given = planes(31, 17, channels=3)
        assert (engine.layout, engine.channels) == ("rgb", 3)
        assert agree(engine(given), reference(folder, given))


def test_the_output_is_the_callers_and_the_input_stays(engine: Engine, planes: Planes) -> None:
    given = planes(32, 24)
    given.flags.writeable = False
    first = engine(given)
    kept = first.copy()
    second = engine(given)
    assert first.flags.c_contiguous
    assert not np.shares_memory(first, second)
    first[:] = 0
    assert np.array_equal(second, kept)
    assert np.array_equal(given, planes(32, 24))


def test_planes_that_are_cut_out_of_larger_ones(engine: Engine, planes: Planes) -> None:
    """A decoder's planes have a stride beyond their width."""
    cut = planes(64, 40)[:, :, 4:28, 8:40]
    assert not cut.flags.c_contiguous
    assert np.array_equal(engine(cut), engine(cut.copy()))


def test_a_stream_keeps_order_through_changes_of_size(engine: Engine, planes: Planes) -> None:
    sizes = itertools.islice(itertools.cycle([(64, 48), (31, 21), (64, 48), (16, 16)]), 14)
    given = [planes(*size, seed=seed) for seed, size in enumerate(sizes)]
    streamed = list(engine.stream(iter(given)))
    assert len(streamed) == len(given)
    for output, each in zip(streamed, given, strict=True):
        assert agree(output, engine(each))
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(streamed, 2))


def test_a_stream_pulls_no_further_ahead_than_its_requests(folder: Path, planes: Planes) -> None:
    with load_engine(folder, requests=3) as engine:
        pulled = 0

        def source() -> Iterator[NDArray[Any]]:
            nonlocal pulled
            for seed in range(10):
                pulled += 1
                yield planes(16, 16, seed=seed)

        outputs = engine.stream(source())
        assert pulled == 0
        for taken, _ in enumerate(outputs, start=1):
            assert pulled <= taken + engine.requests - 1
        assert pulled == taken == 10


def test_an_error_of_the_source_comes_after_what_it_gave(engine: Engine, planes: Planes) -> None:
    def source() -> Iterator[NDArray[Any]]:
        for seed in range(5):
            yield planes(16, 16, seed=seed)
        raise OSError("the disk is gone")

    outputs = engine.stream(source())
    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        got.extend(outputs)
    # `extend` keeps what came before the error.
    assert len(got) == 5


def test_a_wrong_frame_in_a_stream_is_told_in_its_turn(engine: Engine, planes: Planes) -> None:
    outputs = engine.stream([planes(16, 16), planes(16, 16, channels=3), planes(16, 16)])
    assert next(outputs).shape == (1, 1, 16, 16)
    with pytest.raises(InputError, match="shape"):
        next(outputs)


def test_a_stream_can_be_closed_and_the_engine_used_on(engine: Engine, planes: Planes) -> None:
    closed: list[bool] = []

    def source() -> Iterator[NDArray[Any]]:
        try:
            while True:
                yield planes(32, 24)
        finally:
            closed.append(True)

    frames = source()
    outputs = engine.stream(frames)
    expected = next(outputs)
    outputs.close()  # type: ignore[attr-defined]
    del frames, outputs
    assert closed == [True]
    assert agree(engine(planes(32, 24)), expected)


def test_calls_and_streams_inside_a_stream(engine: Engine, planes: Planes) -> None:
    given = [planes(16, 16, seed=seed) for seed in range(6)]
    expected = [engine(each) for each in given]
    for output, single in zip(engine.stream(given), expected, strict=True):
        assert agree(output, single)
        assert agree(engine(given[0]), expected[0])
        assert all(agree(*pair) for pair in zip(engine.stream(given), expected, strict=True))


def test_threads_share_an_engine(engine: Engine, planes: Planes) -> None:
    given = [planes(16 + 2 * (seed % 3), 16, seed=seed) for seed in range(24)]
    expected = [engine(each) for each in given]
    with ThreadPoolExecutor(4) as pool:
        assert all(agree(*pair) for pair in zip(pool.map(engine, given), expected, strict=True))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros((1, 1, 8, 8), np.float32), "float32"),
        (np.zeros((1, 1, 8, 8), np.uint16), "uint16"),
        ([[1]], "list"),
        (np.zeros((8, 8), np.uint8), "shape"),
        (np.zeros((1, 3, 8, 8), np.uint8), "shape"),
        (np.zeros((1, 1, 0, 8), np.uint8), "shape"),
    ],
)
def test_what_is_no_plane_of_the_engine_is_refused(engine: Engine, given: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        engine(given)


def test_an_engine_of_one_size_takes_that_size_alone(make_engine: Callable[..., Path], planes: Planes) -> None:
    with load_engine(make_engine(size=(32, 24))) as engine:
        assert engine.size == (32, 24)
        assert engine(planes(32, 24)).shape == (1, 1, 24, 32)
        for refused in (lambda: engine(planes(24, 32)), lambda: engine.prepare(width=34, height=24)):
            with pytest.raises(InputError, match="32x24"):
                refused()


def test_a_closed_engine_says_so(folder: Path, planes: Planes) -> None:
    engine = load_engine(folder)
    engine.close()
    engine.close()
    with pytest.raises(InputError, match="closed"):
        engine(planes(16, 16))


def test_an_unknown_device_is_told_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*(?i:cpu)"):
        load_engine(folder, device="abacus")


@pytest.mark.parametrize("option", ["threads", "requests"])
def test_nothing_runs_on_no_threads(folder: Path, option: str) -> None:
    with pytest.raises(InputError, match=option):
        load_engine(folder, **{option: 0})


def test_a_bit_depth_that_no_sample_type_holds(folder: Path) -> None:
    with pytest.raises(InputError, match="8 to 16"):
        load_engine(folder, bit_depth=17)


def test_a_graph_that_is_none_is_an_artefact_error(make_engine: Callable[..., Path], tmp_path: Path) -> None:
    """Whole by its manifest and still no graph: made by something else, or for another version."""
    from postfilter.runtime import EngineManifest, read_manifest, sha256_of_file, write_manifest

    for backend in ("openvino", "onnxruntime"):
        folder = make_engine(backend, backend=backend)
        manifest = read_manifest(folder)
        (folder / "model.onnx").write_bytes(b"no graph at all" * 10)
        changed = manifest.as_json() | {"size": None, "files": {"model.onnx": sha256_of_file(folder / "model.onnx")}}
        write_manifest(EngineManifest(**changed), folder)
        with pytest.raises(ArtefactError, match=r"cannot read .*model\.onnx"):
            load_engine(folder)


def test_what_ran_is_told(engine: Engine, planes: Planes) -> None:
    execution = engine.execution(width=64, height=48)
    assert execution.precision_run == "fp32"
    assert execution.backend_version
    assert execution.device_name
    multiplying = [name for name, precision in execution.precision_by_layer.items() if precision == "fp32"]
    assert len(multiplying) >= 3


def test_half_precision_is_left_to_the_device(make_engine: Callable[..., Path], planes: Planes) -> None:
    with load_engine(make_engine("half", precision="fp16")) as engine:
        told = engine.execution(width=64, height=48)
        assert told.precision_run in ("fp32", "fp16", "bf16")
    # An engine that was verified in fp32 alone stays there, whatever the device could do.
    with load_engine(make_engine("held", precision="fp16", precision_run="fp32")) as engine:
        assert engine.execution(width=64, height=48).precision_run == "fp32"
