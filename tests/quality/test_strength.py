"""How strongly pictures were compressed, from their samples: against what made them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality import encode_decode, estimate_strength, jpeg_round_trip, luma_of
from postfilter.quality.jpeg_tables import luma_table, table_of_file
from postfilter.quality.strength import jpeg_of_qp, qp_of_jpeg

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def clean(photograph: Picture) -> Picture:
    """Scaled down, so that nothing is left of what the photograph went through."""
    return np.asarray(cv2.resize(photograph, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("quality", [5, 10, 25, 50, 75, 90])
def test_the_quality_of_a_jpeg_is_found_exactly(clean: Picture, quality: int) -> None:
    luma = luma_of(jpeg_round_trip(clean, quality=quality))
    for cut in (luma, luma[3:, 5:], luma[:, 6:], np.ascontiguousarray(np.rot90(luma))):
        found = estimate_strength(cut)
        assert (found.jpeg_quality, found.lattice, found.coded) == (quality, True, True)
        assert found.qp == qp_of_jpeg(quality)


def test_what_was_no_jpeg_lies_on_no_lattice(clean: Picture, photograph: Picture) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300)).astype(np.uint8)
    flat = np.full((64, 64), 90, np.uint8)
    resized = cv2.resize(jpeg_round_trip(clean, quality=20), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    for luma in (luma_of(clean), noise, flat, luma_of(np.asarray(resized, np.uint8))):
        assert not estimate_strength(luma).lattice


def test_the_network_tells_jpeg_without_the_lattice_too(clean: Picture) -> None:
    for quality in (10, 30, 60):
        found = estimate_strength(luma_of(jpeg_round_trip(clean, quality=quality)), lattice=False)
        assert found.qp == pytest.approx(qp_of_jpeg(quality), abs=3)
        assert not found.lattice


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_coarser_video_is_told_from_finer(clean: Picture, codec: str) -> None:
    luma = luma_of(clean)
    frames = np.stack([luma[t : t + 256, 2 * t : 2 * t + 320] for t in range(6)])
    found = []
    for qp in (27, 37, 47):
        coded = encode_decode(frames, codec=codec, qp=qp, threads=1)  # type: ignore[arg-type]
        found.append(estimate_strength(coded.frames[3]))
    assert found[0].qp < found[1].qp < found[2].qp
    assert found[1].qp == pytest.approx(38, abs=8) and found[2].qp == pytest.approx(48, abs=5)
    # The picture is soft: before coding it might be anything, and that is said.
    before = estimate_strength(frames[0])
    assert found[2].spread < found[0].spread < before.spread and found[2].coded and not before.coded
    assert all(each.cautious_qp < each.qp for each in found)


def test_fewer_tiles_see_the_same(clean: Picture) -> None:
    luma = luma_of(jpeg_round_trip(clean, quality=20))
    all_of_it, some = estimate_strength(luma), estimate_strength(luma, tiles=6)
    assert (some.jpeg_quality, some.qp) == (all_of_it.jpeg_quality, all_of_it.qp)


def test_other_arrays_are_refused() -> None:
    for luma in (np.zeros((63, 200), np.uint8), np.zeros((99, 99), np.float32), np.zeros((99, 99, 3), np.uint8)):
        with pytest.raises(InputError, match="at least 64 samples a side"):
            estimate_strength(luma)  # type: ignore[arg-type]


def test_qp_and_quality_are_each_other_s_inverse() -> None:
    qualities = np.arange(10, 91)
    there_and_back = [jpeg_of_qp(qp_of_jpeg(int(quality))) for quality in qualities]
    assert np.abs(np.array(there_and_back) - qualities).max() <= 4  # the QP is rounded


@pytest.mark.parametrize("quality", [1, 24, 50, 75, 97])
@pytest.mark.parametrize("options", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_OPTIMIZE, 1]])
def test_the_table_of_a_file_is_read(clean: Picture, quality: int, options: list[int]) -> None:
    _, data = cv2.imencode(".jpg", clean, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])
    table = table_of_file(data.tobytes())
    assert table is not None
    assert (table.quality, table.exact) == (quality, True)
    np.testing.assert_array_equal(table.steps, luma_table(quality))


def test_tables_that_are_not_libjpeg_s_take_the_nearest(clean: Picture) -> None:
    _, coded = cv2.imencode(".jpg", clean, [cv2.IMWRITE_JPEG_QUALITY, 50])
    data = bytearray(coded.tobytes())
    place = data.index(b"\xff\xdb") + 5
    data[place] += 1
    table = table_of_file(bytes(data))
    assert table is not None
    assert (table.quality, table.exact, int(table.steps[0, 0])) == (50, False, 17)


def test_what_is_no_jpeg_or_broken_has_no_table(clean: Picture) -> None:
    _, data = cv2.imencode(".jpg", clean)
    whole = data.tobytes()
    for broken in (b"", b"\x89PNG\r\n\x1a\n", whole[:2], whole[:30], b"\xff\xd8\xff\xdb\x00\x03\x00", b"\xff\xd8" * 40):
        assert table_of_file(broken) is None
