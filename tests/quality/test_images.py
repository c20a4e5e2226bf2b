"""Evaluation over a folder of pictures."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality import evaluate_images, jpeg_round_trip, luma_of, psnr, psnr_b, ssim

# JPEG on LIVE1, as in Table I of DAGN and in the papers it takes its rows from: PSNR, SSIM, PSNR-B by quality.
LIVE1 = {
    10: (25.69, 0.743, 24.20),
    20: (28.06, 0.826, 26.49),
    30: (29.37, 0.861, 27.84),
    40: (30.28, 0.882, 28.84),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "b.png"), data.astronaut()[100:228, 150:301, ::-1])
    cv2.imwrite(str(photos / "a.bmp"), data.coffee()[100:190, 150:279, ::-1])
    (photos / "notes.txt").write_text("not a picture")
    return photos


def test_rows_hold_the_averages_of_jpeg_and_of_the_filter(folder):
    def brighter(planes):
        return np.minimum(planes, 253) + np.uint8(2)

    rows = evaluate_images(folder, brighter, layout="rgb", method="brighter", qualities=[10, 40])
    assert [(row["quality"], row["method"]) for row in rows] == [
        (10, "jpeg"),
        (10, "brighter"),
        (40, "jpeg"),
        (40, "brighter"),
    ]
    assert all(row["dataset"] == "photos" and row["images"] == 2 and row["plane"] == "rgb" for row in rows)
    pictures = [data.coffee()[100:190, 150:279], data.astronaut()[100:228, 150:301]]
    coded = [jpeg_round_trip(picture, quality=10) for picture in pictures]
    for row, results in ((rows[0], coded), (rows[1], [brighter(c) for c in coded])):
        for name, metric in (("psnr", psnr), ("ssim", ssim), ("psnr_b", psnr_b)):
            want = np.mean([metric(r, p) for r, p in zip(results, pictures, strict=True)])
            assert row[name] == pytest.approx(want), name


def test_the_filter_sees_the_planes_of_its_layout(folder):
    seen = []

    def keep(planes):
        seen.append(planes.copy())
        return planes

    evaluate_images(folder, keep, layout="rgb", method="x", qualities=[30])
    rows = evaluate_images(folder, keep, layout="luma", method="x", qualities=[30])
    first = jpeg_round_trip(data.coffee()[100:190, 150:279], quality=30)
    assert np.array_equal(seen[0], first.transpose(2, 0, 1)[None])
    assert np.array_equal(seen[2], luma_of(first)[None, None])
    assert all(planes.dtype == np.uint8 and planes.flags.c_contiguous for planes in seen)
    assert rows[0]["plane"] == "luma"
    assert {k: v for k, v in rows[0].items() if k != "method"} == {k: v for k, v in rows[1].items() if k != "method"}


def test_a_perfect_filter_counts_a_hundred_decibels(folder):
    sources = [data.coffee()[100:190, 150:279], data.astronaut()[100:228, 150:301]]
    answers = iter([source.transpose(2, 0, 1)[None] for source in sources])
    rows = evaluate_images(folder, lambda _: next(answers), layout="rgb", method="oracle", qualities=[10])
    assert rows[1]["psnr"] == 100 and rows[1]["ssim"] == pytest.approx(1)


def test_a_quality_given_twice_counts_once(folder):
    rows = evaluate_images(folder, lambda x: x, layout="luma", method="x", qualities=[30, 10, 30])
    assert [(row["quality"], row["images"]) for row in rows] == [(30, 2), (30, 2), (10, 2), (10, 2)]


def test_grey_pictures_are_coded_as_grey():
    grey = luma_of(data.coffee()[100:190, 150:279])
    coded = jpeg_round_trip(grey, quality=90)
    assert coded.shape == grey.shape and 0 < np.abs(coded.astype(int) - grey).mean() < 4


def test_progress_reaches_its_end(folder):
    told = []
    evaluate_images(
        folder, lambda x: x, layout="luma", method="x", qualities=[10], on_progress=lambda *a, **k: told.append(a)
    )
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_what_cannot_be_evaluated_is_told(folder, tmp_path):
    def run(where, qualities=(10,)):
        evaluate_images(where, lambda x: x, layout="rgb", method="x", qualities=qualities)

    with pytest.raises(InputError, match="not a folder"):
        run(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        run(tmp_path / "empty")
    with pytest.raises(InputError, match="1 to 100"):
        run(folder, [0])
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((12, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"tiny\.png is 40x12"):
        run(folder)
    (folder / "tiny.png").unlink()
    (folder / "c.png").write_bytes(b"not a PNG")
    with pytest.raises(InputError, match=r"c\.png cannot be read"):
        run(folder)


@pytest.mark.skipif("POSTFILTER_DATA" not in os.environ, reason="POSTFILTER_DATA names no folder with images/live1")
def test_jpeg_on_live1_agrees_with_the_published_rows():
    live1 = Path(os.environ["POSTFILTER_DATA"]) / "images/live1"
    rows = evaluate_images(live1, lambda x: x, layout="rgb", method="none", qualities=list(LIVE1))
    for row in rows:
        if row["method"] == "jpeg":
            want = LIVE1[row["quality"]]
            assert row["images"] == 29
            assert abs(row["psnr"] - want[0]) < 0.01
            assert abs(row["ssim"] - want[1]) < 0.001
            assert abs(row["psnr_b"] - want[2]) < 0.01
