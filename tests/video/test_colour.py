"""Y'CbCr and R'G'B': known colours, FFmpeg's own conversion, and changes that come back."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.filtering.colour import Colour, choose_matrix
from postfilter.video.pixels import FORMATS, plane_view

BT709, BT601, BT2020 = 1, 6, 9


def colour(name: str, *, matrix: int = BT709, full_range: bool = False, siting: Any = "left") -> Colour:
    return Colour(format=FORMATS[name], matrix=matrix, full_range=full_range, siting=siting)


def flat(*codes: int, dtype: Any = np.uint8) -> tuple[NDArray[Any], ...]:
    return tuple(np.full((2, 2), code, dtype) for code in codes)


@pytest.mark.parametrize(
    ("matrix", "codes", "rgb"),
    [
        # SMPTE RP 219 and BT.601 colour bars at 100 %, 8 bits, limited range.
        (BT709, (235, 128, 128), (255, 255, 255)),
        (BT709, (16, 128, 128), (0, 0, 0)),
        (BT709, (63, 102, 240), (255, 0, 0)),
        (BT709, (173, 42, 26), (0, 255, 0)),
        (BT709, (32, 240, 118), (0, 0, 255)),
        (BT601, (81, 90, 240), (255, 0, 0)),
        (BT601, (145, 54, 34), (0, 255, 0)),
        (BT601, (41, 240, 110), (0, 0, 255)),
    ],
)
def test_colour_bars(matrix: int, codes: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    got = colour("yuv444p", matrix=matrix).to_rgb(*flat(*codes))[:, 0, 0]
    assert np.abs(got.astype(int) - rgb).max() <= 2  # the bars' codes are rounded themselves


def test_ten_bits_and_full_range() -> None:
    white = colour("yuv444p10le", matrix=BT2020).to_rgb(*flat(940, 512, 512, dtype=np.uint16))
    assert (white == 1023).all() and white.dtype == np.uint16
    grey = colour("yuvj444p", matrix=BT601, full_range=True).to_rgb(*flat(77, 128, 128))
    assert (grey == 77).all()


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("matrix", "name"), [(BT709, "ITU709"), (BT601, "ITU601")])
def test_agrees_with_ffmpeg(matrix: int, name: str, full_range: bool, photograph: NDArray[np.uint8]) -> None:
    """Without subsampling there is one right answer, up to the rounding of FFmpeg's integer arithmetic."""
    sample_range = "JPEG" if full_range else "MPEG"
    rgb = np.ascontiguousarray(photograph[100:164, 100:196])
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format="yuv444p", dst_colorspace=name, dst_color_range=sample_range
    )
    got = colour("yuv444p", matrix=matrix, full_range=full_range).to_rgb(*(plane_view(frame, i) for i in range(3)))
    assert np.abs(got.transpose(1, 2, 0).astype(int) - rgb).mean() < 0.8


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_no_change_changes_nothing(name: str, siting: Any, size: tuple[int, int]) -> None:
    """Any codes, also those outside the RGB cube, and odd sizes."""
    random = np.random.default_rng(0)
    form = FORMATS[name]
    across, down = form.chroma_step or (1, 1)
    chroma = (-(-size[0] // down), -(-size[1] // across))
    planes = tuple(random.integers(0, form.peak + 1, shape).astype(form.dtype) for shape in (size, chroma, chroma))
    converter = colour(name, siting=siting)
    rgb = converter.to_rgb(*planes)
    assert rgb.shape == (3, *size)
    kept = tuple(each.copy() for each in planes)
    converter.apply_change(kept, rgb, rgb.copy())  # type: ignore[arg-type]
    assert all(np.array_equal(a, b) for a, b in zip(planes, kept, strict=True))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
@pytest.mark.parametrize("name", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_a_change_of_rgb_is_what_decodes_from_the_planes(name: str, matrix: int, full_range: bool) -> None:
    """Brightness, and the balance of red and blue, moved all over: the planes then convert to that picture."""
    form = FORMATS[name]
    unit = (form.peak + 1) // 256
    ramp = (60 + np.add.outer(np.arange(32), np.arange(48)))[:, :] * unit
    chroma = np.full((16, 24) if name != "yuv444p" else (32, 48), 128 * unit)
    planes = tuple(each.astype(form.dtype) for each in (ramp, chroma - 9 * unit, chroma + 5 * unit))
    converter = colour(name, matrix=matrix, full_range=full_range)
    before = converter.to_rgb(*planes)
    wanted = before + np.array([12, 3, -8]).reshape(3, 1, 1) * unit
    converter.apply_change(planes, before, wanted.astype(form.dtype))  # type: ignore[arg-type]
    # Each plane is rounded once: half a code of luma and, weighted by up to 2.1, of chroma.
    assert np.abs(converter.to_rgb(*planes).astype(int) - wanted).max() <= 2


def test_chroma_lies_where_its_siting_says() -> None:
    """A step of colour between two chroma columns falls half a luma sample further left when chroma is co-sited."""
    y, cb = np.full((4, 8), 128, np.uint8), np.full((2, 4), 128, np.uint8)
    cr = np.repeat([[100, 100, 160, 160]], 2, axis=0).astype(np.uint8)
    red = {
        siting: colour("yuv420p", full_range=True, siting=siting).to_rgb(y, cb, cr)[0, 0].astype(int)
        for siting in ("left", "center")
    }
    # Between chroma columns 1 and 2, that is luma columns 2..4 (co-sited) or 2.5..4.5 (centred).
    middle = (red["left"][2] + red["left"][4]) / 2
    assert red["left"][3] == pytest.approx(middle, abs=1)
    assert (red["center"][3] + red["center"][4]) / 2 == pytest.approx(middle, abs=1)
    assert red["center"][3] < red["left"][3] < red["center"][4] < red["left"][4]


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le"])
def test_bands_leave_no_seam(name: str, siting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    random, form = np.random.default_rng(0), FORMATS[name]
    size = (201, 32)
    chroma = (-(-201 // (form.chroma_step or (1, 1))[1]), 16)
    planes = tuple(random.integers(0, form.peak + 1, shape).astype(form.dtype) for shape in (size, chroma, chroma))
    converter = colour(name, siting=siting)
    found = []
    for lines in (16, 1000):
        monkeypatch.setattr("postfilter.video.filtering.colour._BAND_LINES", lines)
        rgb = converter.to_rgb(*planes)
        changed = tuple(each.copy() for each in planes)
        converter.apply_change(changed, rgb, rgb[:, ::-1].copy())  # type: ignore[arg-type]
        found.append((rgb, *changed))
    assert all(np.array_equal(banded, whole) for banded, whole in zip(*found, strict=True))


def test_an_unspecified_matrix_is_chosen_by_size() -> None:
    assert choose_matrix(2, width=720, height=576) == BT601
    assert choose_matrix(2, width=1280, height=534) == BT709
    assert choose_matrix(2, width=960, height=720) == BT709
    assert choose_matrix(BT601, width=1920, height=1080) == BT601


@pytest.mark.parametrize("matrix", [0, 8, 10, 14])
def test_matrices_that_are_none_are_refused(matrix: int) -> None:
    with pytest.raises(InputError, match=rf"{matrix} .*luma engine"):
        choose_matrix(matrix, width=640, height=480)
