"""Damaged engines through the whole filter path: what is flagged is filtered again or passed through, and told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from postfilter.errors import InputError, PostfilterError, UnknownNameError
from postfilter.runtime import Engine, EngineManifest, load_engine, sha256_of_file, write_manifest
from postfilter.video import filter_image, filter_video
from postfilter.video.filtering.guard import Guard
from postfilter.video.filtering.planes import LumaPlanes
from postfilter.video.filtering.redo import redo_tiles
from postfilter.video.filtering.stage import FrameFilter
from postfilter.video.filtering.tile_statistics import tile_spans
from postfilter.video.frame import Frame

Write = Callable[..., Path]
Seen = Callable[[Path], Any]
Engines = Callable[..., Engine]

_SIZE = (256, 192)
_BOX = np.s_[72:120, 136:184]
"""Within the tile of the second row and third column."""
_TILE = np.s_[64:128, 128:192]
_DAMAGED = (3, 7)
"""Frames that show what the engine fails at."""


def _write_engine(folder: Path, *, channels: int, damage: str, precision: str, multiple: int = 1) -> Path:
    """A mild filter. `nan` computes the root of a negative number where a sample is close to half of the peak."""
    kernel = np.array([[0, 0.02, 0], [0.02, 0.92, 0.02], [0, 0.02, 0]], np.float32)
    values = {"peak": 255.0, "zero": 0.0, "half": 0.5, "narrow": 0.0004, "gain": 1.5, "shift": 0.25}
    node = helper.make_node
    harm = {
        "none": [node("Identity", ["y"], ["z"])],
        "nan": [
            node("Sub", ["x", "half"], ["apart"]),
            node("Mul", ["apart", "apart"], ["squared"]),
            node("Sub", ["squared", "narrow"], ["sign"]),
            node("Sqrt", ["sign"], ["root"]),
            node("Mul", ["root", "zero"], ["nothing"]),
            node("Add", ["y", "nothing"], ["z"]),
        ],
        "shift": [node("Add", ["y", "shift"], ["z"])],
        "gain": [node("Mul", ["y", "gain"], ["z"])],
        "flat": [node("Mul", ["y", "zero"], ["none"]), node("Add", ["none", "half"], ["z"])],
    }
    nodes = [
        node("Cast", ["samples"], ["codes"], to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"]),
        node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=channels),
        *harm[damage],
        node("Mul", ["z", "peak"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Max", ["rounded", "zero"], ["floored"]),
        node("Min", ["floored", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    weight = np.tile(kernel[None, None], (channels, 1, 1, 1))
    shape: list[Any] = ["N", channels, "H", "W"]
    graph = helper.make_graph(
        nodes,
        damage,
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(weight, "w")]
        + [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in values.items()],
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    digest = sha256_of_file(folder / "model.onnx")
    manifest = EngineManifest(
        model="mild",
        layout="luma" if channels == 1 else "rgb",
        backend="openvino",
        backend_version="0",
        device="CPU",
        precision=precision,
        halo=1,
        size_multiple=multiple,
        graph_sha256=digest,
        files={"model.onnx": digest},
    )
    write_manifest(manifest, folder)
    return folder


@pytest.fixture(scope="module")
def mild(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """`mild("nan", channels=3, bit_depth=10)`: an int8 engine by its manifest; `none` is the fp32 reference."""
    loaded: dict[tuple[Any, ...], Engine] = {}

    def get(damage: str = "none", *, channels: int = 1, bit_depth: int = 8, precision: str | None = None) -> Engine:
        precision = precision or ("fp32" if damage == "none" else "int8")
        key = damage, channels, bit_depth, precision
        if key not in loaded:
            folder = tmp_path_factory.mktemp("mild") / damage
            _write_engine(folder, channels=channels, damage=damage, precision=precision)
            loaded[key] = load_engine(folder, bit_depth=bit_depth, threads=1)
        return loaded[key]

    return get


@pytest.fixture(scope="module")
def clip(write: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames without mid-greys, two of them with a box of that."""
    count = 0

    def edit(frame: Any) -> None:
        nonlocal count
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        rows[(rows > 95) & (rows < 160)] = 95
        if count in _DAMAGED:
            rows[_BOX] = 127
        count += 1

    return write(tmp_path_factory.mktemp("clips") / "in.mkv", size=_SIZE, codec="ffv1", edit=edit)


class _Shown:
    def __init__(self) -> None:
        self.before: list[NDArray[Any]] = []
        self.after: list[NDArray[Any]] = []
        self.guard: list[str | None] = []

    def see(self, record: Any, decoded: Any, filtered: Any) -> None:
        self.before.append(decoded.planes[0].copy())
        self.after.append(filtered.planes[0].copy())
        self.guard.append(record.guard)


def test_a_tile_of_nan_is_filtered_again(mild: Engines, clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown = _Shown()
    with caplog.at_level(logging.WARNING):
        result = filter_video(clip, None, mild("nan"), guard_engine=mild(), observers=[shown])
    report = result.guard
    assert (report.frames_flagged, report.frames_redone, report.frames_passed, report.tiles_flagged) == (2, 2, 0, 2)
    assert [(each.frame, each.tiles) for each in report.events] == [(3, 1), (7, 1)]
    assert [each.pts_seconds for each in report.events] == pytest.approx([3 / 25, 7 / 25], abs=1e-3)
    assert [index for index, text in enumerate(shown.guard) if text] == list(_DAMAGED)
    assert "filtered again" in str(shown.guard[3])
    assert "frame 3 at 0.120 s" in caplog.text
    assert "2 filtered frames" in result.warnings[0]
    for index, (before, after) in enumerate(zip(shown.before, shown.after, strict=True)):
        expected = mild("nan")(before[None, None])[0, 0]
        if index in _DAMAGED:
            expected[_TILE] = mild()(before[None, None])[0, 0][_TILE]
        assert np.array_equal(after, expected)


@pytest.mark.parametrize("mode", ["redo", "pass"])
def test_without_a_reference_the_input_passes_through_there(mild: Engines, clip: Path, mode: Any) -> None:
    shown = _Shown()
    opened: list[int] = []
    result = filter_video(clip, None, mild("nan"), guard=mode, guard_engine=lambda: opened.append(1), observers=[shown])
    assert (result.guard.frames_redone, result.guard.frames_passed) == (0, 2)
    assert len(opened) == (mode == "redo")
    for index, (before, after) in enumerate(zip(shown.before, shown.after, strict=True)):
        expected = mild("nan")(before[None, None])[0, 0]
        if index in _DAMAGED:
            expected[_TILE] = before[_TILE]
        assert np.array_equal(after, expected)


@pytest.mark.parametrize(("mode", "flagged"), [("warn", 2), ("off", 0)])
def test_the_output_is_left_alone_where_that_is_asked_for(mild: Engines, clip: Path, mode: Any, flagged: int) -> None:
    shown = _Shown()
    result = filter_video(clip, None, mild("nan"), guard=mode, guard_engine=mild(), observers=[shown])
    assert result.guard.frames_flagged == flagged
    assert (result.guard.frames_redone, result.guard.frames_passed) == (0, 0)
    assert [text for text in shown.guard if text] == [each.__str__() for each in result.guard.events]
    for before, after in zip(shown.before, shown.after, strict=True):
        assert np.array_equal(after, mild("nan")(before[None, None])[0, 0])


def test_what_the_reference_fails_at_too_passes_through(mild: Engines, clip: Path) -> None:
    shown = _Shown()
    result = filter_video(clip, None, mild("nan"), guard_engine=mild("nan", precision="fp32"), observers=[shown])
    assert (result.guard.frames_flagged, result.guard.frames_redone, result.guard.frames_passed) == (2, 0, 2)
    assert np.array_equal(shown.after[3][_TILE], shown.before[3][_TILE])


def test_an_fp32_engine_is_its_own_reference(mild: Engines, clip: Path) -> None:
    def never() -> Engine:
        raise AssertionError("opened")

    result = filter_video(clip, None, mild("nan", precision="fp32"), guard_engine=never)
    assert (result.guard.frames_redone, result.guard.frames_passed) == (0, 2)


def test_the_reference_is_opened_once_and_only_when_needed(mild: Engines, clip: Path, tmp_path: Path) -> None:
    folder = _write_engine(tmp_path / "reference", channels=1, damage="none", precision="fp32")
    opened: list[Engine] = []

    def open_it() -> Engine:
        opened.append(load_engine(folder, threads=1))
        return opened[-1]

    filter_video(clip, None, mild("none", precision="int8"), guard_engine=open_it)
    assert opened == []
    filter_video(clip, None, mild("nan"), guard_engine=open_it)
    assert len(opened) == 1
    with pytest.raises(InputError, match="closed"):
        opened[0](np.zeros((1, 1, 32, 32), np.uint8))


def test_a_reference_that_cannot_be_opened_is_told_of(
    mild: Engines, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Engine:
        raise PostfilterError("torch is not installed")

    result = filter_video(clip, None, mild("nan"), guard_engine=fail)
    assert result.guard.frames_passed == 2
    assert caplog.text.count("torch is not installed") == 1


@pytest.mark.parametrize("damage", ["shift", "gain", "flat"])
@pytest.mark.parametrize(
    ("pix_fmt", "bits", "channels"), [("yuv420p", 8, 1), ("yuv420p10le", 10, 1), ("yuv420p", 8, 3)]
)
def test_whole_frames_are_filtered_again(
    mild: Engines, write: Write, seen: Seen, tmp_path: Path, damage: str, pix_fmt: str, bits: int, channels: int
) -> None:
    source = write(tmp_path / "in.mkv", size=_SIZE, codec="ffv1", pix_fmt=pix_fmt)
    good, bad = (mild(each, channels=channels, bit_depth=bits) for each in ("none", damage))
    result = filter_video(source, tmp_path / "out.mkv", bad, guard_engine=good, codec="ffv1")
    filter_video(source, tmp_path / "wanted.mkv", good, guard="off", codec="ffv1")
    assert (result.guard.frames_flagged, result.guard.frames_redone, result.guard.frames_passed) == (12, 12, 0)
    out, wanted = (seen(tmp_path / name).planes for name in ("out.mkv", "wanted.mkv"))
    # Half as bright again is within what an RGB engine may do to the darkest tiles.
    same = [np.mean(a[0] == b[0]) for a, b in zip(out, wanted, strict=True)]
    assert min(same) > (0.9 if (damage, channels) == ("gain", 3) else 0.999)


def test_fields_are_judged_each_by_itself(mild: Engines, photograph: NDArray[np.uint8]) -> None:
    pair = np.ascontiguousarray(photograph[:256, :128, 1].reshape(128, 2, 128).swapaxes(0, 1))[:, None]
    after = mild()(pair)
    after[1] = 0
    kept = after.copy()
    with Guard(mild("none", precision="int8"), reference=mild()) as guard:
        mended, told = guard.check(pair, after, frame=5, pts_seconds=0.2)
    assert np.array_equal(after, kept)
    assert np.array_equal(mended, mild()(pair))
    assert told is not None and told.startswith("black (4 tiles)")


def test_what_is_right_is_returned_as_it_is(mild: Engines, photograph: NDArray[np.uint8]) -> None:
    before = np.ascontiguousarray(photograph[:200, :300, 0])[None, None]
    after = mild()(before)
    assert Guard(mild("none", precision="int8")).check(before, after, frame=0, pts_seconds=0.0) == (after, None)


@pytest.mark.parametrize(("damage", "flagged"), [("none", 0), ("shift", 6)])
def test_a_still_picture_is_judged_once_and_every_flagged_frame_counted(
    mild: Engines, photograph: NDArray[np.uint8], damage: str, flagged: int
) -> None:
    engine = mild(damage)
    one, other = (np.ascontiguousarray(photograph[top : top + 192, :256, 1]) for top in (0, 100))

    def run(*, reuse: bool) -> tuple[list[Any], int]:
        frames = [
            Frame.from_planes([each], format="gray", pts=number, time_base=Fraction(1, 25))
            for number, each in enumerate([one, one, one, other, other, one])
        ]
        filtering = FrameFilter(engine, LumaPlanes(), guard=Guard(engine, mode="pass"), reuse=reuse)
        told = [(each.frame.planes[0].tobytes(), each.record.change) for each in filtering.stream(frames)]
        return told, filtering.guard.report.frames_flagged

    assert run(reuse=True) == run(reuse=False)
    assert run(reuse=True)[1] == flagged


def test_what_was_right_is_not_looked_at_again_until_it_changes(mild: Engines, photograph: NDArray[np.uint8]) -> None:
    before = np.ascontiguousarray(photograph[:192, :256, 1])[None, None]
    right, wrong = mild()(before), mild("shift")(before)
    guard = Guard(mild("shift"), mode="warn")
    everything, nothing = np.ones((1, 24, 32), np.bool_), np.zeros((1, 24, 32), np.bool_)
    looked_at = [(right, everything), (wrong, nothing), (wrong, None), (wrong, nothing), (right, nothing)]
    found = [guard.check(before, after, frame=0, pts_seconds=0.0, altered=altered)[1] for after, altered in looked_at]
    assert [each is not None for each in found] == [False, False, True, True, False]


@pytest.mark.parametrize("size", [(640, 480), (321, 243), (130, 20), (16, 16)])
@pytest.mark.parametrize("multiple", [1, 4])
def test_tiles_are_redone_as_in_the_whole_frame(
    photograph: NDArray[np.uint8], tmp_path: Path, size: tuple[int, int], multiple: int
) -> None:
    folder = _write_engine(tmp_path / "engine", channels=1, damage="none", precision="fp32", multiple=multiple)
    tiled = np.tile(photograph[:, :, 1], (2, 2))
    before = np.ascontiguousarray(tiled[: size[1], : size[0]])[None, None]
    with load_engine(folder, threads=1) as engine:
        wanted = engine(before)
        for rows in tile_spans(size[1]):
            for columns in tile_spans(size[0]):
                mended = redo_tiles(engine, before, before, [(0, slice(*rows), slice(*columns))])
                expected = before.copy()
                tile = np.s_[:, :, slice(*rows), slice(*columns)]
                expected[tile] = wanted[tile]
                assert np.array_equal(mended, expected)


def test_odd_content_raises_no_alarm(mild: Engines, write: Write, tmp_path: Path) -> None:
    """Black frames, a fade, a cut, a flash, a letterbox and frames of one value."""
    count = 0

    def edit(frame: Any) -> None:
        nonlocal count
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(-1, frame.planes[0].line_size)
        changes: list[Callable[[NDArray[Any]], Any]] = [
            lambda y: y * 0 + 16,
            lambda y: 16 + (y - 16) * 0.1,
            lambda y: 16 + (y - 16) * 0.5,
            lambda y: y,
            lambda y: 255 - y,
            lambda y: y * 0 + 255,
            lambda y: np.where(np.arange(len(y))[:, None] % 150 < 40, 16, y),
            lambda y: y * 0,
            lambda y: y // 64 * 64,
            lambda y: y * 0 + 128,
            lambda y: np.where(y > 128, 235, 16),
            lambda y: np.arange(y.shape[1])[None] % 256 + 0 * y,
        ]
        rows[...] = changes[count](rows.astype(float)).astype(np.uint8)
        count += 1

    source = write(tmp_path / "in.mkv", size=_SIZE, codec="ffv1", edit=edit)
    assert filter_video(source, None, mild("none", precision="int8")).guard.events == []


@pytest.mark.parametrize("size", [(16, 16), (34, 18), (100, 16)])
def test_tiny_frames_are_judged(mild: Engines, write: Write, tmp_path: Path, size: tuple[int, int]) -> None:
    source = write(tmp_path / "in.mkv", size=size, codec="ffv1")
    assert filter_video(source, None, mild("none", precision="int8")).guard.frames_flagged == 0
    assert filter_video(source, None, mild("shift")).guard.frames_passed == 12


def test_pictures_are_guarded_too(mild: Engines, photograph: NDArray[np.uint8], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), photograph[:200, :300, 1])
    result = filter_image(tmp_path / "in.png", tmp_path / "out.png", mild("flat"), guard_engine=mild())
    assert result.guard is not None and "filtered again" in result.guard
    filter_image(tmp_path / "in.png", tmp_path / "wanted.png", mild())
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "wanted.png").read_bytes()


def test_a_reference_for_other_planes_and_an_unknown_mode_are_refused(mild: Engines) -> None:
    with pytest.raises(InputError, match="10 bits"):
        Guard(mild("nan"), reference=mild(bit_depth=10))
    with pytest.raises(UnknownNameError, match="redo"):
        Guard(mild("nan"), mode="never")  # type: ignore[arg-type]
