"""The round trip through x264 and x265: every frame comes back, in order, coded as asked."""

from fractions import Fraction

import av
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality.codec import RoundTrip, encode_decode, planes_of

CODECS = ("h264", "hevc")


def pan(frames: int, height: int = 96, width: int = 128) -> np.ndarray:
    picture = data.camera()
    return np.stack([picture[200 : 200 + height, 150 + 3 * t : 150 + 3 * t + width] for t in range(frames)])


def psnr_luma(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("codec", CODECS)
def test_frames_return_complete_and_in_order(codec):
    source = pan(30)
    coded = encode_decode(source, codec=codec, qp=22)
    assert coded.frames.shape == source.shape and coded.frames.dtype == np.uint8
    # A pan by three samples a frame: only the right frame is near its source.
    nearest = [max(range(30), key=lambda s, t=t: psnr_luma(coded.frames[t], source[s])) for t in range(30)]
    assert nearest == list(range(30))
    assert not np.array_equal(coded.frames, source)


@pytest.mark.parametrize("codec", CODECS)
def test_a_higher_qp_costs_fewer_bits_and_more_distortion(codec):
    source = pan(12)
    fine, coarse = (encode_decode(source, codec=codec, qp=qp) for qp in (27, 42))
    assert fine.kbps > 2 * coarse.kbps > 0
    assert psnr_luma(fine.frames, source) > psnr_luma(coarse.frames, source) + 5


@pytest.mark.parametrize("codec", CODECS)
def test_prediction_between_frames_is_used(codec):
    still = np.repeat(pan(1), 12, axis=0)
    one, twelve = (encode_decode(still[:n], codec=codec, qp=30, fps=1) for n in (1, 12))
    assert twelve.kbps * 12 < 2 * one.kbps * 1


def test_the_rate_follows_the_frame_rate():
    slow, fast = (encode_decode(pan(8), codec="h264", qp=35, fps=fps) for fps in (Fraction(30000, 1001), 60))
    assert np.array_equal(slow.frames, fast.frames)
    assert fast.kbps == pytest.approx(slow.kbps * 60 * 1001 / 30000, rel=0.02)


def test_one_frame_is_a_clip():
    assert encode_decode([pan(1)[0]], codec="hevc", qp=37).frames.shape == (1, 96, 128)


@pytest.mark.parametrize("codec", CODECS)
def test_real_chroma_is_coded_and_comes_back(codec):
    rgb = np.ascontiguousarray(data.astronaut()[:96, 150:278])
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    (decoded,) = RoundTrip(codec=codec, qp=20)([frame])
    for got, want in zip(planes_of(decoded), planes_of(frame), strict=True):
        assert psnr_luma(got, want) > 35
    (grey,) = RoundTrip(codec=codec, qp=20)([planes_of(frame)[0]])
    assert np.all(planes_of(grey)[1] == 128)


def test_planes_are_those_of_the_frame():
    y = np.arange(32 * 18, dtype=np.uint8).reshape(18, 32)
    u, v = y[:9, :16] // 2, y[:9, 16:] // 3
    (decoded,) = RoundTrip(codec="h264", qp=0)([(y, u, v)])
    for got, want in zip(planes_of(decoded), (y, u, v), strict=True):
        assert np.array_equal(got, want)


def test_frames_are_pulled_as_needed():
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield pan(1)[0]

    first = next(RoundTrip(codec="h264", qp=37, preset="veryfast")(endless()))
    assert first.pts == 0 and pulled < 80


def test_x265_keeps_silent(capfd):
    encode_decode(pan(3), codec="hevc", qp=37, threads=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "no frames"),
        ([np.zeros((17, 32), np.uint8)], {}, "crop them to 32x16"),
        ([np.zeros((16, 32), np.uint16)], {}, "uint8"),
        ([np.zeros((16, 32), np.uint8), np.zeros((32, 32), np.uint8)], {}, "32x32 in a clip of 32x16"),
        ([np.zeros((16, 32), np.uint8)], {"qp": 52}, "0 to 51"),
        ([np.zeros((16, 32), np.uint8)], {"codec": "vp9"}, "h264, hevc"),
        ([np.zeros((16, 32), np.uint8)], {"preset": "quickish"}, "ultrafast"),
    ],
)
def test_what_cannot_be_coded_is_told(frames, options, message):
    with pytest.raises(InputError, match=message):
        encode_decode(frames, **({"codec": "hevc", "qp": 37} | options))
