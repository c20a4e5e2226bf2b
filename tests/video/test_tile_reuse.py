"""What does not change is not filtered again, and nobody can tell: through the whole of filter_video."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.runtime import Engine
from postfilter.video import Frame, FrameRecord, filter_video

WIDTH, HEIGHT, FRAMES = 640, 480, 40


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory, photograph: NDArray[np.uint8]) -> Path:
    """A still picture on which a small part moves; then a new picture."""
    import cv2

    path = tmp_path_factory.mktemp("screen") / "in.mkv"
    first = cv2.resize(photograph, (WIDTH, HEIGHT))
    pictures = [first, np.ascontiguousarray(first[::-1])]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            picture = np.array(pictures[number >= FRAMES - 8])
            picture[200:232, 8 * number : 8 * number + 32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("layout", ["luma", "rgb"])
def test_the_output_is_the_same_byte_for_byte(
    layout: str, screen: Path, tmp_path: Path, engine: Callable[..., Engine]
) -> None:
    records: list[FrameRecord] = []

    class Looks:
        def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
            records.append(record)

    run = {"codec": "ffv1", "overwrite": True, "engine": engine(f"smooth-{layout}")}
    plain = filter_video(screen, tmp_path / "plain.mkv", tile_reuse=False, **run)  # type: ignore[arg-type]
    reused = filter_video(screen, tmp_path / "reused.mkv", observers=[Looks()], **run)  # type: ignore[arg-type]
    assert video_packets(tmp_path / "plain.mkv") == video_packets(tmp_path / "reused.mkv")
    assert plain.as_json()["tiles"] == {"total": 0, "reused": 0, "moved": 0, "kept": 0}
    tiles = reused.as_json()["tiles"]
    assert tiles["total"] == FRAMES * (WIDTH // 8) * (HEIGHT // 8)
    assert tiles["reused"] > tiles["total"] / 2
    assert sum(each.tiles_reused for each in records) == tiles["reused"]
    assert records[0].tiles_reused == records[FRAMES - 8].tiles_reused == 0


def video_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(each) for each in container.demux(video=0) if each.size]
