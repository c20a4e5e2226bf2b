"""Frames as pictures: the stream's own matrix and range, above 8 bits, HDR, grey, scaled down."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from postfilter.video import ColourTags, Frame
from postfilter.video.pages.display import describe_conversion, shown_shape, to_display


@pytest.mark.parametrize(
    ("form", "code", "full", "shown"),
    [
        ("yuv420p", 16, False, 0),
        ("yuv420p", 235, False, 255),
        ("yuv420p", 235, True, 235),
        ("yuv420p10le", 64, False, 0),
        ("yuv420p10le", 940, False, 255),
    ],
)
def test_the_range_is_the_stream_s_own(
    form: str, code: int, full: bool, shown: int, frame: Callable[..., Frame]
) -> None:
    luma = np.full((8, 16), code, np.uint16 if "10" in form else np.uint8)
    assert (to_display(frame(luma, form=form, full_range=full)) == shown).all()


def test_the_matrix_is_the_stream_s_own(frame: Callable[..., Frame]) -> None:
    luma = np.full((8, 16), 120, np.uint8)
    hd, sd = (to_display(frame(luma, chroma=160, matrix=matrix))[0, 0] for matrix in (1, 6))
    # 1.164 * 104 + 1.793 * 32 and + 1.596 * 32, for red.
    assert hd[0] == 178 and sd[0] == 172
    assert "BT.709" in describe_conversion(frame(luma, matrix=1))


@pytest.mark.parametrize(("form", "matrix"), [("gray", 2), ("yuv420p", 8)])
def test_what_has_no_matrix_is_shown_as_luma(form: str, matrix: int) -> None:
    planes: list[Any] = [np.full((8, 16), 126, np.uint8)] + [np.full((4, 8), 90, np.uint8)] * (2 * (form != "gray"))
    made = Frame.from_planes(planes, format=form, pts=0, time_base=Fraction(1, 25), colour=ColourTags(matrix=matrix))
    assert (to_display(made) == 128).all()
    assert "luma alone" in describe_conversion(made)


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_hdr_is_tone_mapped_and_told(transfer: int, white: float, frame: Callable[..., Frame]) -> None:
    """Diffuse white, 58 % of PQ and 75 % of HLG (ITU-R BT.2408), is light grey; steps above it stay apart."""
    steps = [64, round(64 + 876 * white / 2), round(64 + 876 * white), round(64 + 876 * (white + 0.1))]
    luma = np.repeat(np.array([steps], np.uint16), 2, axis=0).repeat(2, axis=1)
    made = frame(luma, form="yuv420p10le", transfer=transfer, matrix=9, primaries=9)
    shown = to_display(made)[0, ::2, 1].astype(int)
    assert shown[0] == 0 and 170 < shown[2] < 215 and (np.diff(shown) > 0).all()
    assert "tone map" in describe_conversion(made)


def test_a_large_frame_is_scaled_down_with_its_shape(frame: Callable[..., Frame]) -> None:
    luma = np.tile(np.linspace(20, 200, 640, dtype=np.uint8), (360, 1))
    small = to_display(frame(luma), longest=320)
    assert small.shape == (180, 320, 3)
    assert abs(int(small[90, 160, 0]) - int(to_display(frame(luma))[180, 320, 0])) <= 2


def test_rgb_is_shown_as_it_is() -> None:
    green, blue, red = (np.full((8, 16), code, np.uint8) for code in (10, 20, 30))
    made = Frame.from_planes([green, blue, red], format="gbrp", pts=0, time_base=Fraction(1, 25))
    assert (to_display(made) == [30, 10, 20]).all()
    assert "R'G'B'" in describe_conversion(made)


@pytest.mark.parametrize(
    ("rotation", "corner", "shape"), [(0, (0, 0), 8 / 3), (-90, (0, 7), 3 / 8), (180, (7, 15), 8 / 3)]
)
def test_a_frame_is_turned_and_stretched_as_it_asks(
    rotation: int, corner: tuple[int, int], shape: float, frame: Callable[..., Frame]
) -> None:
    luma = np.full((8, 16), 40, np.uint8)
    luma[0, 0] = 200
    made = frame(luma, full_range=True)
    made.rotation, made.sample_aspect_ratio = rotation, Fraction(4, 3)
    assert np.argwhere(to_display(made)[..., 1] == 200).tolist() == [list(corner)]
    assert shown_shape(made) == pytest.approx(shape)
