"""Engines that smooth or shift, made by hand as export makes real ones, and clips with everything a container holds."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from postfilter.runtime import Engine, EngineManifest, load_engine, sha256_of_file, write_manifest
from postfilter.runtime.further_inputs import FurtherInput

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Pts = list[int]


def write_engine_folder(folder: Path, *, channels: int = 1, kernel: list[list[float]], bias: float = 0.0) -> Path:
    """An engine that convolves each channel with a 3x3 kernel and adds `bias` (of the peak)."""
    weight = np.tile(np.array(kernel, np.float32)[None, None], (channels, 1, 1, 1))
    node = helper.make_node
    nodes = [
        node("Cast", ["samples"], ["codes"], to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"]),
        node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=channels),
        node("Mul", ["y", "peak"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Max", ["rounded", "zero"], ["floored"]),
        node("Min", ["floored", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    shape: list[Any] = ["N", channels, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "smooth",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        [
            numpy_helper.from_array(np.array(255.0, np.float32), "peak"),
            numpy_helper.from_array(np.array(0.0, np.float32), "zero"),
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.full(channels, bias, np.float32), "b"),
        ],
    )
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    digest = sha256_of_file(folder / "model.onnx")
    write_manifest(
        EngineManifest(
            model="smooth" if bias == 0 else "shift",
            layout="luma" if channels == 1 else "rgb",
            backend="openvino",
            backend_version="0",
            device="CPU",
            precision="fp32",
            graph_sha256=digest,
            files={"model.onnx": digest},
            cost={"kmac_per_px": 0.009 * channels},
            halo=1,
            # Smoothing that darkens the border is more than a filter does: the guard is told.
            verification={"mean_change": 20.0},
        ),
        folder,
    )
    return folder


SAME = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
SMOOTH = [[1 / 9] * 3] * 3


@pytest.fixture(scope="session")
def engine_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("engines")
    return {
        f"{name}-{layout}": write_engine_folder(
            folder / f"{name}-{layout}", channels=channels, kernel=kernel, bias=bias
        )
        for layout, channels in (("luma", 1), ("rgb", 3))
        for name, kernel, bias in (("same", SAME, 0.0), ("smooth", SMOOTH, 0.0), ("shift", SAME, 0.25))
    }


@pytest.fixture(scope="session")
def engine(engine_folders: dict[str, Path]) -> Callable[..., Engine]:
    """`engine("smooth-luma", bit_depth=10)`: each is loaded once."""
    loaded: dict[tuple[str, int], Engine] = {}

    def get(name: str = "smooth-luma", *, bit_depth: int = 8) -> Engine:
        if (name, bit_depth) not in loaded:
            loaded[name, bit_depth] = load_engine(engine_folders[name], bit_depth=bit_depth, threads=1)
        return loaded[name, bit_depth]

    return get


def write_steered_engine(
    folder: Path,
    *,
    default: float | None = None,
    name: str = "qp",
    inputs: tuple[FurtherInput, ...] = (),
    shares: tuple[float, ...] = (1, 0.2),
) -> Path:
    """An engine that adds its QP to each sample: a fifth of the code value that stands for it.

    With `inputs` of another kind, the sum of the picture and all of them in the given `shares`.
    """
    inputs = inputs or (FurtherInput(name=name, maximum=51, default=default),)
    channels = 1 + len(inputs)
    node = helper.make_node
    nodes = [
        node("Cast", ["samples"], ["codes"], to=TensorProto.FLOAT),
        node("Div", ["codes", "peak"], ["x"]),
        node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1]),
        node("Mul", ["y", "peak"], ["scaled"]),
        node("Round", ["scaled"], ["rounded"]),
        node("Min", ["rounded", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    weights = {"peak": np.float32(255), "w": np.array(shares, np.float32).reshape(1, -1, 1, 1)}
    graph = helper.make_graph(
        nodes,
        "steered",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, ["N", channels, "H", "W"])],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, ["N", 1, "H", "W"])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
    )
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    digest = sha256_of_file(folder / "model.onnx")
    manifest = EngineManifest(
        model="steered",
        layout="luma",
        backend="openvino",
        backend_version="0",
        device="CPU",
        precision="fp32",
        inputs=inputs,
        graph_sha256=digest,
        files={"model.onnx": digest},
    )
    write_manifest(manifest, folder)
    return folder


@pytest.fixture(scope="session")
def steered() -> Callable[..., Path]:
    """`steered(folder, default=None)`: `write_steered_engine`."""
    return write_steered_engine


class Clip:
    """What a test decodes and demuxes from a file, with PyAV alone."""

    def __init__(self, path: Path) -> None:
        with av.open(str(path)) as container:
            self.format = container.format.name
            self.metadata = dict(container.metadata)
            self.chapters = [
                (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"].get("title"))
                for c in container.chapters()
                if c["time_base"]
            ]
            self.tracks = [
                (each.type, each.language, int(each.disposition), each.metadata.get("title"))
                for each in container.streams
            ]
            self.attachments = [
                (each.name, each.mimetype, each.data) for each in container.streams if each.type == "attachment"
            ]
            video = container.streams.video[0]
            frames = list(container.decode(video))
            context = video.codec_context
            self.codec, self.pix_fmt, self.size = context.name, context.pix_fmt, (context.width, context.height)
            self.tags = tuple(
                int(getattr(context, name)) for name in ("colorspace", "color_trc", "color_primaries", "color_range")
            )
            self.aspect, self.rotation = video.sample_aspect_ratio, frames[0].rotation
            self.interlaced = frames[0].interlaced_frame
            self.seconds = [float(each.pts * each.time_base) for each in frames if each.time_base]
            self.planes = [[_plane(each, index) for index in range(len(each.planes))] for each in frames]
        self.packets: dict[int, list[tuple[float, bytes]]] = {}
        with av.open(str(path)) as container:
            for packet in container.demux():
                if packet.size and packet.pts is not None:
                    at = float(packet.pts * packet.time_base)
                    self.packets.setdefault(packet.stream.index, []).append((at, bytes(packet)))


def _plane(frame: av.VideoFrame, index: int) -> NDArray[Any]:
    plane = frame.planes[index]
    dtype = np.dtype(np.uint16 if "10" in frame.format.name else np.uint8)
    rows = np.frombuffer(bytes(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return rows[: plane.height, : plane.width].copy()


def write_clip(
    path: Path,
    *,
    photograph: NDArray[np.uint8],
    pts: Pts | None = None,
    time_base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    prepare: Callable[[Any, Any], None] | None = None,
    after: Callable[[Any], None] | None = None,
    edit: Callable[[av.VideoFrame], None] | None = None,
) -> Path:
    """A pan over a photograph. `prepare(container, stream)` runs before the header, `after(container)` at the end."""
    width, height = size
    with av.open(str(path), "w", container_options=container_options) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = stream.time_base = time_base
        if prepare:
            prepare(container, stream)
        for number, at in enumerate(pts or range(12)):
            view = photograph[60 + number : 60 + number + height, 100 + 3 * number : 100 + 3 * number + width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = at, time_base
            if edit:
                edit(frame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if after:
            after(container)
    return path


@pytest.fixture(scope="session")
def seen() -> type[Clip]:
    """`seen(path)`: what PyAV alone reads from a file."""
    return Clip


@pytest.fixture(scope="session")
def write(photograph: NDArray[np.uint8]) -> Callable[..., Path]:
    """`write(path, …)`: `write_clip` of the photograph."""
    return functools.partial(write_clip, photograph=photograph)


_CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1280,900"
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """The system's Chromium with an empty profile; it keeps the console's lines and every request of a page.

    For tests with the marker `browser`, which are skipped where it is absent.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_CHROMIUM.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
