"""Plays a clip on one CPU while busy processes take their share of it for some seconds; prints what happened.

A process of its own, since the CPU it may use must be settled before any library starts its threads. The engine's cost
is measured first, and the clip made at the frame rate of which it takes 40 %: the same test on every machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

BUSY = 6
"""Processes that compete: one seventh of the CPU is left, and the engine needs two fifths."""
CALM, LOADED = 1.0, 2.5
"""Seconds before the load comes, and for which it lasts."""
SECONDS = 7


def main(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    import av
    import numpy as np

    from postfilter.runtime import load_engine
    from postfilter.video import play_video
    from postfilter.video.realtime.ladder import LadderSettings

    folder = Path(tempfile.mkdtemp())
    engine = load_engine(write_engine(folder / "engine"), threads=1)
    samples = np.zeros((1, 1, 144, 192), np.uint8)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        engine(samples)
        times.append(time.perf_counter() - started)
    rate = max(5, min(60, round(0.4 / sorted(times)[7])))
    with av.open(str(folder / "in.mkv"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        rng = np.random.default_rng(0)
        for number in range(rate * SECONDS):
            grey = np.tile(rng.integers(60, 200, (1, 24), np.uint8).repeat(8, axis=1), (144, 1))
            frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    seen: list[tuple[float, str]] = []
    began: list[float] = []

    def look(*_: Any, rung: str, **__: Any) -> None:
        now = time.monotonic()
        if not began:
            began.append(now)
            threading.Thread(target=load, daemon=True).start()
        seen.append((now - began[0], rung))

    def load() -> None:
        time.sleep(CALM)
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
        time.sleep(LOADED)
        for each in busy:
            each.kill()
            each.wait()

    settings = LadderSettings(up_after_seconds=0.4, longest_wait_seconds=1.5)
    result = play_video(folder / "in.mkv", None, [engine], settings=settings, on_progress=look)
    told = {"result": result.as_json(), "seen": seen, "rate": rate, "seconds": SECONDS}
    print(json.dumps({**told, "load_begins": CALM, "load_ends": CALM + LOADED}))  # noqa: T201


def write_engine(folder: Path) -> Path:
    """A luma engine of some ten milliseconds that leaves pictures as they are."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from postfilter.runtime import EngineManifest, sha256_of_file, write_manifest

    rng, width, layers = np.random.default_rng(0), 32, 6
    shapes = [(width, 1, 3, 3), *[(width, width, 3, 3)] * layers, (1, width, 3, 3)]
    scales = [0.1] * (layers + 1) + [1e-9]
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), f"w{index}")
        for index, (shape, scale) in enumerate(zip(shapes, scales, strict=True))
    ]
    node = helper.make_node
    nodes = [node("Cast", ["samples"], ["x0"], to=TensorProto.FLOAT)]
    for index in range(len(shapes)):
        nodes.append(node("Conv", [f"x{index}", f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(node("Relu", [f"c{index}"], [f"x{index + 1}"]))
    nodes += [
        node("Add", ["x0", f"x{len(shapes)}"], ["sum"]),
        node("Round", ["sum"], ["rounded"]),
        node("Clip", ["rounded", "zero", "peak"], ["clipped"]),
        node("Cast", ["clipped"], ["filtered"], to=TensorProto.UINT8),
    ]
    limits = [
        numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0), ("peak", 255))
    ]
    shape: list[Any] = ["N", 1, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("samples", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("filtered", TensorProto.UINT8, shape)],
        [*weights, *limits],
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    digest = sha256_of_file(folder / "model.onnx")
    write_manifest(
        EngineManifest(
            model="heavy", layout="luma", backend="openvino", backend_version="0", device="CPU", precision="fp32",
            graph_sha256=digest, files={"model.onnx": digest},
        ),
        folder,
    )  # fmt: skip
    return folder


if __name__ == "__main__":
    main(int(sys.argv[1]))
