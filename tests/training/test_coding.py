"""Clips through real encoders and back."""

import numpy as np
import pytest

from postfilter.training.coding import Coding, code

CODECS = ["h264", "hevc"]


def squared_error(a, b):
    return float(np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("codec", [*CODECS, "mpeg2", "av1"])
def test_frames_come_back_in_their_order_and_get_worse_with_qp(moving, codec):
    fine, coarse = (code(moving[:12], Coding(codec=codec, quality=qp)).frames for qp in (22, 37))
    # Two frames that were exchanged would differ by hundreds.
    assert squared_error(moving[:12], fine) < 15 < 20 < squared_error(moving[:12], coarse)
    assert squared_error(moving[1:12], fine[:-1]) > 100


@pytest.mark.parametrize("codec", CODECS)
def test_the_qp_told_of_each_frame_is_what_the_encoder_was_told(moving, codec):
    coded = code(moving[:12], Coding(codec=codec, quality=32))
    assert coded.qp.shape == (12, 6, 8) and coded.qp.dtype == np.uint8
    assert all(len(np.unique(frame)) == 1 for frame in coded.qp)
    # Both encoders take 6 log2 1.4 off for I and add 6 log2 1.3 for B; for B that others refer to, half of that.
    assert coded.qp[0, 0, 0] == 29
    assert set(coded.qp[1:, 0, 0]) == {32, 33, 34}


def test_a_rate_factor_varies_the_qp_over_the_picture(moving):
    coded = code(moving[:4], Coding(codec="h264", quality=30, constant=False))
    assert len(np.unique(coded.qp[0])) > 1


@pytest.mark.parametrize("codec", CODECS)
def test_coding_twice_gives_the_same_frames(moving, codec):
    first, again = (code(moving[:6], Coding(codec=codec, quality=30)) for _ in range(2))
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.qp, again.qp)


def test_mpeg2_is_coded_at_the_nearest_scale(moving):
    for wanted, told in ((22, 22), (34, 34), (50, 40)):
        coded = code(moving[:6], Coding(codec="mpeg2", quality=wanted))
        # The coarsest scale is a step of 62. FFmpeg tells none of the last frame.
        assert np.all(coded.qp[:-1] == told)


def test_av1_tells_no_qp_and_loses_about_as_much_as_h264(moving):
    for qp in (27, 37):
        av1, h264 = (code(moving[:12], Coding(codec=codec, quality=qp)) for codec in ("av1", "h264"))
        assert not av1.qp.any()
        assert 0.5 < squared_error(moving[:12], av1.frames) / squared_error(moving[:12], h264.frames) < 2


def test_the_encoder_of_av1_is_silent(moving, capfd):
    code(moving[:2], Coding(codec="av1", quality=40, constant=False))
    assert capfd.readouterr().err == ""
