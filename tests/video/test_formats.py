"""Pixel formats beyond 4:2:0 of 8 bits: every sample that is not filtered leaves as it came, in each encoder's turn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter.errors import InputError, OutputError
from postfilter.runtime import Engine
from postfilter.video import filter_video, probe
from postfilter.video.pixels import FORMATS, pixel_format, planar, plane_view, relabelled

Engines = Callable[..., Engine]


def write_noise(path: Path, pix_fmt: str, *, codec: str = "ffv1", frames: int = 3, size: int = 32) -> list[str]:
    """Frames of noise in every plane; return the digest of each."""
    random = np.random.default_rng(1)
    digests = []
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width = stream.height = size
        stream.pix_fmt = pix_fmt
        for number in range(frames):
            frame = av.VideoFrame(size, size, pix_fmt)
            bits = frame.format.components[0].bits
            for plane in frame.planes:
                samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
                samples[...] = random.integers(0, 1 << bits, samples.shape)
            frame.pts = number
            digests.append(digest(planar(frame)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return digests


def digest(frame: av.VideoFrame) -> str:
    return hashlib.sha256(b"".join(plane_view(frame, i).tobytes() for i in range(len(frame.planes)))).hexdigest()


def digests(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [digest(planar(each)) for each in container.decode(video=0)]


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv422p", "yuv444p12le", "yuv420p9le", "yuv422p14le", "yuv420p16le", "gray12le", "yuva420p", "yuva444p12le"],
)
def test_luma_engines_take_every_depth_and_leave_alpha(pix_fmt: str, engine: Engines, tmp_path: Path) -> None:
    before = write_noise(tmp_path / "in.mkv", pix_fmt)
    same = engine("same-luma", bit_depth=pixel_format(pix_fmt).bit_depth)
    filter_video(tmp_path / "in.mkv", tmp_path / "out.mkv", same, codec="ffv1", guard="off")
    assert digests(tmp_path / "out.mkv") == before
    assert probe(tmp_path / "out.mkv").format.name == pix_fmt


@pytest.mark.parametrize("pix_fmt", ["bgr0", "bgra", "gbrp10le", "gbrap12le"])
def test_rgb_clips_go_through_rgb_engines(pix_fmt: str, engine: Engines, tmp_path: Path) -> None:
    before = write_noise(tmp_path / "in.mkv", pix_fmt)
    depth = pixel_format(pix_fmt).bit_depth
    filter_video(
        tmp_path / "in.mkv", tmp_path / "out.mkv", engine("same-rgb", bit_depth=depth), codec="ffv1", guard="off"
    )
    assert digests(tmp_path / "out.mkv") == before
    with pytest.raises(InputError, match=r"is RGB .* works on luma; use an RGB engine"):
        filter_video(tmp_path / "in.mkv", tmp_path / "not.mkv", engine("same-luma", bit_depth=depth))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [
        ("libx265", "yuv422p12le", "out.mp4"),
        ("prores_ks", "yuv422p10le", "out.mov"),
        ("prores_ks", "yuva444p10le", "out.mov"),
        ("libsvtav1", "yuv420p10le", "out.mp4"),
    ],
)
def test_more_encoders_keep_format_and_frames(
    codec: str, pix_fmt: str, name: str, engine: Engines, tmp_path: Path
) -> None:
    write_noise(tmp_path / "in.mkv", pix_fmt, size=64)
    same = engine("same-luma", bit_depth=pixel_format(pix_fmt).bit_depth)
    result = filter_video(tmp_path / "in.mkv", tmp_path / name, same, codec=codec, guard="off")
    assert result.frames_out == len(digests(tmp_path / name)) == 3
    assert probe(tmp_path / name).format.chroma_step == pixel_format(pix_fmt).chroma_step
    assert probe(tmp_path / name).format.alpha == pixel_format(pix_fmt).alpha


def test_an_encoder_that_cannot_hold_a_format_names_those_that_can(engine: Engines, tmp_path: Path) -> None:
    write_noise(tmp_path / "in.mkv", "yuva444p10le")
    with pytest.raises(OutputError, match=r"libx264 cannot encode yuva444p10le; these can: prores_ks, ffv1"):
        filter_video(tmp_path / "in.mkv", tmp_path / "out.mkv", engine("same-luma", bit_depth=10))


@pytest.mark.parametrize("size", [(34, 18), (130, 66)])
@pytest.mark.parametrize("name", ["nv12", "nv21", "nv16", "p010le", "yuyv422", "uyvy422", "rgb24", "bgra", "rgb48le"])
def test_packed_formats_are_unpacked_without_loss(name: str, size: tuple[int, int]) -> None:
    width, height = size
    frame = av.VideoFrame(width, height, name)
    random = np.random.default_rng(0)
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint16 if name == "p010le" else np.uint8)
        samples[...] = (
            random.integers(0, 1024, samples.shape) << 6 if name == "p010le" else random.integers(0, 256, samples.shape)
        )
    frame.pts, frame.color_range = 7, 1
    apart = planar(frame)
    assert apart.format.name in FORMATS
    assert (apart.pts, int(apart.color_range)) == (7, 1)
    again = planar(relabelled(apart, name))
    assert digest(again) == digest(apart)
    if name.startswith(("nv", "p010")):
        rows = np.frombuffer(frame.planes[0], plane_view(apart, 0).dtype).reshape(height, -1)[:, :width]
        assert np.array_equal(plane_view(apart, 0), rows >> (6 if name == "p010le" else 0))
