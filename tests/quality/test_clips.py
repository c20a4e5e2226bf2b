"""Evaluation over clips that real codecs coded."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality import clip_files, evaluate_clips, psnr
from postfilter.quality.codec import RoundTrip, planes_of


def write_clip(path: Path, *, frames: int = 12, size: tuple[int, int] = (128, 96), pix_fmt: str = "yuv420p") -> Path:
    """A pan over a photograph, stored without loss."""
    picture = data.astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for t in range(frames):
            view = np.ascontiguousarray(picture[80 : 80 + size[1], 100 + 2 * t : 100 + 2 * t + size[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def smooth(planes: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(planes[0, 0], (3, 3), 0.5)[None, None]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_row_holds_the_averages_over_frames(tmp_path, codec):
    clip = write_clip(tmp_path / "pan.mkv")
    result = evaluate_clips([clip], smooth, method="smooth", codec=codec, qp=37)
    (row,) = result["rows"]
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    trip = RoundTrip(codec=codec, qp=37, fps=30)
    decoded = [planes_of(frame)[0] for frame in trip(frames)]
    sources = [planes_of(frame)[0] for frame in frames]
    before = [psnr(d, s) for d, s in zip(decoded, sources, strict=True)]
    after = [psnr(smooth(d[None, None])[0, 0], s) for d, s in zip(decoded, sources, strict=True)]
    assert row["psnr_decoded"] == pytest.approx(np.mean(before))
    assert row["psnr_filtered"] == pytest.approx(np.mean(after))
    assert row["delta_psnr"] == pytest.approx(np.mean(after) - np.mean(before))
    assert row["worst_frame_delta_psnr"] == pytest.approx(min(np.subtract(after, before)))
    assert row["kbps"] == pytest.approx(trip.kbps) and row["kbps"] > 5
    assert abs(row["delta_psnr"]) > 0.01
    named = {"clip": "pan", "method": "smooth", "codec": codec, "qp": 37, "frames": 12, "width": 128, "height": 96}
    assert named.items() <= row.items()


def test_clips_count_the_same_however_long(tmp_path):
    write_clip(tmp_path / "a.mkv", frames=2)
    write_clip(tmp_path / "b.mp4", frames=9)
    (tmp_path / "readme.txt").write_text("not a clip")
    result = evaluate_clips(tmp_path, smooth, method="smooth", qp=40)
    assert [(row["clip"], row["frames"]) for row in result["rows"]] == [("a", 2), ("b", 9)]
    deltas = [row["delta_psnr"] for row in result["rows"]]
    assert result["average"]["delta_psnr"] == pytest.approx(np.mean(deltas))


def test_frames_are_limited_and_progress_counts_them(tmp_path):
    told = []
    result = evaluate_clips(
        write_clip(tmp_path / "a.mkv"),
        lambda x: x,
        method="none",
        codec="h264",
        qp=30,
        frames=5,
        on_progress=lambda done, total, **figures: told.append((done, total, figures)),
    )
    assert result["rows"][0]["frames"] == 5
    assert told[-1] == (5, 5, {"delta_psnr": 0.0})


def test_a_stream_is_used_and_may_run_ahead(tmp_path):
    class Streaming:
        def __call__(self, planes):
            raise AssertionError("the stream was there")

        def stream(self, planes):
            waiting = []
            for plane in planes:
                waiting.append(smooth(plane))
                if len(waiting) == 4:
                    yield waiting.pop(0)
            yield from waiting

    clip = write_clip(tmp_path / "a.mkv")
    streamed = evaluate_clips(clip, Streaming(), method="x", qp=37)
    assert streamed == evaluate_clips(clip, smooth, method="x", qp=37)


def test_an_odd_size_loses_a_column(tmp_path):
    result = evaluate_clips(write_clip(tmp_path / "a.mkv", size=(129, 97), frames=3), smooth, method="x", qp=37)
    assert (result["rows"][0]["width"], result["rows"][0]["height"]) == (128, 96)
    assert result["rows"][0]["psnr_decoded"] > 25


def test_what_cannot_be_evaluated_is_told(tmp_path):
    def run(path, **options):
        evaluate_clips(path, smooth, method="x", **options)

    with pytest.raises(InputError, match="does not exist"):
        run(tmp_path / "absent.mkv")
    with pytest.raises(InputError, match="got no clips"):
        run(tmp_path)
    with pytest.raises(InputError, match=r"10\.mkv: got frames of yuv420p10le"):
        run(write_clip(tmp_path / "10.mkv", pix_fmt="yuv420p10le"))
    with pytest.raises(InputError, match="frames = 0"):
        run(write_clip(tmp_path / "a.mkv"), frames=0)
    data_bytes = bytearray((tmp_path / "a.mkv").read_bytes())
    middle = slice(len(data_bytes) // 2, len(data_bytes) // 2 + 3000)
    data_bytes[middle] = bytes(byte ^ 0x5A for byte in data_bytes[middle])
    (tmp_path / "torn.mkv").write_bytes(data_bytes)
    with pytest.raises(InputError, match=r"torn\.mkv: damaged after \d+ frames"):
        run(tmp_path / "torn.mkv")
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(np.random.default_rng(1).bytes(4000))
    with pytest.raises(InputError, match="cannot be opened as a video"):
        run(junk)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match="no video stream"):
        run(sound)


def test_paths_stand_for_clips(tmp_path):
    a, b = (write_clip(tmp_path / name, frames=1) for name in ("b.mkv", "a.mkv"))
    assert clip_files(tmp_path) == [b, a]
    assert clip_files([a, b]) == [a, b]
