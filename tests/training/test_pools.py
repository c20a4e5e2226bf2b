"""From folders to what a recipe trains and validates on."""

import math

import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.quality.images import jpeg_round_trip
from postfilter.training import Recipe, load_data
from postfilter.training.jpeg import JpegMix, jpeg_pool, qp_of_jpeg


def recipe(**options):
    return Recipe(**{"model": "fastarcnn", "degradation": "jpeg", "patch_size": 32, "steps": 1} | options)


def error(pool):
    pairs = zip(pool.degraded, pool.clean, strict=True)
    return float(np.mean([np.square(a.astype(float) - b).mean() for a, b in pairs]))


@pytest.fixture(scope="module")
def video(folder, tmp_path_factory):
    """A run on both codecs from random weights; QPs so high that its shots differ from those validated on."""
    wanted = recipe(model="edge-s", degradation="mixed", pans=1, qp=(40, 44), threads=2)
    return load_data(wanted, images=[folder], cache=tmp_path_factory.mktemp("shots"))


def test_lower_quality_is_further_from_the_clean_picture(pictures):
    worse, better = (jpeg_pool(pictures, layout="rgb", qualities=(quality,)) for quality in (10, 40))
    assert error(worse) > 1.5 * error(better) > 0


def test_a_jpeg_pool_is_what_the_codec_makes_of_each_picture(pictures):
    pool = jpeg_pool(pictures[:2], layout="rgb", qualities=(10, 30))
    expected = [jpeg_round_trip(picture, quality=quality) for picture in pictures[:2] for quality in (10, 30)]
    for degraded, picture in zip(pool.degraded, expected, strict=True):
        np.testing.assert_array_equal(degraded, picture.transpose(2, 0, 1))
    assert [int(each[0, 0]) for each in pool.qp] == [qp_of_jpeg(10), qp_of_jpeg(30)] * 2
    assert pool.qp[0].shape == (8, 9)


@pytest.mark.parametrize("quality", [5, 10, 25, 50, 75, 90])
def test_the_qp_of_a_jpeg_is_the_step_of_its_dc_coefficient(quality):
    import cv2

    _, data = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    table = bytes(data).index(b"\xff\xdb")
    step = data[table + 5]
    # A DCT of 8x8 as JPEG has it is orthonormal; QP 4 is a step of 1 there.
    assert qp_of_jpeg(quality) == pytest.approx(4 + 6 * math.log2(step), abs=0.8)


def test_coarser_chroma_loses_more_colour_and_the_same_luma(pictures):
    fine, coarse = (
        jpeg_pool(pictures, layout="rgb", qualities=(30,), mix=JpegMix(sampling=(sampling,)))
        for sampling in ("4:4:4", "4:2:0")
    )
    assert error(coarse) > 1.05 * error(fine)
    default = jpeg_pool(pictures, layout="rgb", qualities=(30,))
    assert all(np.array_equal(a, b) for a, b in zip(coarse.degraded, default.degraded, strict=True))


def test_other_tables_are_other_losses_and_other_qps(pictures):
    pool = jpeg_pool(pictures, layout="luma", qualities=(10, 20, 30), mix=JpegMix(tables=1))
    told = {int(each[0, 0]) for each in pool.qp}
    # DC steps of 20, 16, 6, 18, 12 and 6.
    assert told <= {30, 28, 20, 29, 26} and len(told) > 2
    coarse, fine = (
        np.mean(
            [
                np.square(a.astype(float) - b).mean()
                for a, b, each in zip(pool.degraded, pool.clean, pool.qp, strict=True)
                if (each[0, 0] >= 28) == is_coarse
            ]
        )
        for is_coarse in (True, False)
    )
    assert coarse > 1.5 * fine


def test_pictures_saved_before_have_edges_of_blocks_elsewhere(pictures):
    twice = jpeg_pool(pictures, layout="luma", qualities=(95,), mix=JpegMix(twice=1), seed=2)
    once = jpeg_pool(pictures, layout="luma", qualities=(95,))
    assert [each.shape for each in twice.degraded] == [each.shape for each in once.degraded]
    assert error(twice) > 2 * error(once)
    again = jpeg_pool(pictures, layout="luma", qualities=(95,), mix=JpegMix(twice=1), seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(twice.degraded, again.degraded, strict=True))


def test_jpeg_is_validated_by_quality(folder):
    data = load_data(recipe(jpeg_quality=(20,), image_scales=(1.0,)), images=[folder], validation=folder)
    assert list(data.validation) == ["jpeg 10", "jpeg 20", "jpeg 40"]
    assert len(data.pool.clean) == 4 and data.first is None
    errors = [error(pool) for pool in data.validation.values()]
    assert errors == sorted(errors, reverse=True)


def test_pictures_to_choose_on_are_not_trained_on(folder):
    data = load_data(recipe(jpeg_quality=(20,), image_scales=(1.0,)), images=[folder])
    trained_on = {picture.tobytes() for picture in data.pool.clean}
    assert len(trained_on) == 3
    for pool in data.validation.values():
        assert trained_on.isdisjoint(picture.tobytes() for picture in pool.clean)


def test_video_is_validated_by_codec_and_qp(folder, tmp_path):
    wanted = recipe(model="edge-s", degradation="mixed", pans=1, threads=2)
    data = load_data(wanted, images=[folder], validation=folder, cache=tmp_path)
    assert sorted(data.validation) == [f"{codec} {qp}" for codec in ("h264", "hevc") for qp in (22, 27, 32, 37, 42)]
    for name, pool in data.validation.items():
        # P or B frames of a constant QP, of half of the four pictures.
        assert len(pool.clean) == 4
        assert {int(level) - int(name[-2:]) for blocks in pool.qp for level in blocks.flat} <= {0, 1, 2}
    assert error(data.validation["hevc 42"]) > 2 * error(data.validation["hevc 22"])


def test_a_video_run_from_random_weights_starts_on_jpeg_pictures(video, folder, tmp_path):
    assert video.first is not None
    assert video.first.clean[0].shape[0] == video.pool.clean[0].shape[0] == 1
    # Three pans are trained on, and the fourth picture chosen on.
    assert len(video.pool.clean) == 3 * 8
    assert all(int(each.min()) >= 37 and int(each.max()) <= 51 for each in video.pool.qp)
    started = recipe(model="fastarcnn-luma", degradation="h264", pans=1, start="fastarcnn", threads=2)
    assert load_data(started, images=[folder], cache=tmp_path).first is None


def test_all_codecs_are_validated_where_they_reach(folder, tmp_path):
    wanted = recipe(model="edge-s", degradation="all", pans=1, threads=2, start="x")
    data = load_data(wanted, images=[folder], validation=folder, cache=tmp_path)
    assert {name.split()[0] for name in data.validation} == {"h264", "hevc", "mpeg2", "av1"}
    assert "mpeg2 37" in data.validation and "mpeg2 42" not in data.validation


def test_clips_are_coded_as_often_as_asked(clip_pair, folder, tmp_path):
    wanted = recipe(model="edge-s", degradation="h264", clip_repeats=3, start="x", threads=2)
    data = load_data(wanted, clips=[clip_pair.clean], validation=folder, cache=tmp_path)
    assert len(data.pool.clean) == 3 * 8
    assert {picture.shape for picture in data.pool.clean} == {(1, 64, 96)}


def test_what_cannot_be_trained_is_refused_with_what_to_try(folder, tmp_path):
    with pytest.raises(InputError, match="fastarcnn-luma"):
        load_data(recipe(degradation="hevc"), images=[folder])
    with pytest.raises(InputError, match="--degradation"):
        load_data(recipe(), images=[folder], clips=[folder / "a.mp4"], validation=folder)
    with pytest.raises(InputError, match="no pictures"):
        load_data(recipe(), images=[tmp_path])
    with pytest.raises(InputError, match="smaller --patch-size"):
        load_data(recipe(patch_size=128), images=[folder])
