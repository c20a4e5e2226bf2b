"""Degradation and the drawing of patches."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.training import PatchPool, Recipe, load_data
from postfilter.training.clips import CodedClips, pans_of
from postfilter.training.data import jpeg_pool
from postfilter.training.degradation import pan


@pytest.fixture(scope="module")
def pictures(photograph):
    """Four views of a photograph, BGR, small enough to be quick."""
    bgr = photograph[:, :, ::-1]
    return [
        np.ascontiguousarray(bgr[y : y + 128, x : x + 144]) for y, x in ((60, 100), (200, 180), (300, 20), (0, 300))
    ]


@pytest.fixture
def folder(pictures, tmp_path):
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture[:, :, ::-1])
    return tmp_path


def error(pool: PatchPool) -> float:
    return float(
        np.mean([np.square(a.astype(float) - b).mean() for a, b in zip(pool.degraded, pool.clean, strict=True)])
    )


def test_patches_are_the_same_place_of_both_pictures():
    rng = np.random.default_rng(0)
    clean = [rng.integers(0, 200, (3, 40, 60), dtype=np.uint8) for _ in range(3)]
    pool = PatchPool([picture + 7 for picture in clean], clean)
    batch = pool.draw(rng, batch_size=20, patch_size=16, augmentation=True)
    assert batch.degraded.shape == (20, 3, 16, 16)
    assert np.array_equal(batch.degraded, batch.clean + 7)
    assert np.allclose(batch.errors, 49)


def test_drawing_is_decided_by_the_generator_alone(pictures):
    pool = jpeg_pool(pictures, layout="luma", qualities=(10,))
    first, again, other = (
        pool.draw(np.random.default_rng(seed), batch_size=4, patch_size=32, augmentation=True) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.degraded, again.degraded)
    assert not np.array_equal(first.degraded, other.degraded)


def test_lower_quality_is_further_from_the_clean_picture(pictures):
    worse, better = (jpeg_pool(pictures, layout="rgb", qualities=(quality,)) for quality in (10, 40))
    assert error(worse) > 1.5 * error(better) > 0


def test_coded_frames_belong_to_their_source_and_get_worse_with_qp(pictures):
    clips = pans_of(pictures[:2], seed=1)
    pools = [
        CodedClips(codecs=(codec,), qp=(qp, qp), repeats=1, seed=0, threads=2)(clips)
        for codec in ("h264", "hevc")
        for qp in (22, 42)
    ]
    for fine, coarse in (pools[:2], pools[2:]):
        assert len(fine.clean) == 14
        # A wrong order of frames would show as an error of hundreds already at QP 22.
        assert error(fine) < 15 < 30 < error(coarse)


def test_coding_is_decided_by_the_seed_whatever_the_number_of_threads(pictures):
    clips = pans_of(pictures, seed=1)
    one, two, other = (
        CodedClips(codecs=("h264", "hevc"), qp=(27, 42), repeats=1, seed=seed, threads=threads)(clips)
        for seed, threads in ((0, 1), (0, 2), (5, 1))
    )
    assert all(np.array_equal(a, b) for a, b in zip(one.degraded, two.degraded, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one.degraded, other.degraded, strict=True))


def test_a_pan_moves_smoothly_over_the_picture(pictures):
    clip = pan(pictures[0], np.random.default_rng(2), frames=7, size=(96, 80))
    assert [frame.shape for frame in clip] == [(80, 96, 3)] * 7
    steps = [np.abs(a.astype(float) - b).mean() for a, b in pairwise(clip)]
    assert min(steps) > 0
    assert max(steps) < np.abs(clip[0].astype(float) - clip[-1]).mean() * 1.5


def test_pictures_to_choose_on_are_not_trained_on(folder):
    recipe = Recipe(
        model="fastarcnn", degradation="jpeg", jpeg_quality=(20,), image_scales=(1.0,), patch_size=32, steps=1
    )
    data = load_data(recipe, images=folder, validation=folder)
    assert len(data.pool.clean) == 4
    held_out = load_data(recipe, images=folder, validation=None)
    trained_on = {picture.tobytes() for picture in held_out.pool.clean}
    assert trained_on.isdisjoint(picture.tobytes() for picture in held_out.validation.clean)


def test_a_video_run_starts_on_jpeg_pictures(folder):
    recipe = Recipe(model="arcnn-luma", degradation="hevc", patch_size=32, pans=1, steps=1)
    data = load_data(recipe, images=folder, validation=folder)
    assert data.first is not None
    assert data.first.clean[0].shape[0] == data.pool.clean[0].shape[0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "either"),
        ({"minutes": 3.0}, "not both"),
        ({"jpeg_quality": (0,)}, "1 to 100"),
        ({"qp": (40, 30)}, "lower end first"),
        ({"patch_size": 30}, "multiple of 8"),
        ({"lr": 0.0}, "positive"),
        ({"jpeg_first": 1.0}, "below 1"),
        ({"clip_scale": 0.0}, "scales"),
    ],
)
def test_contradictory_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{"model": "fastarcnn", "degradation": "jpeg"} | change)


def test_what_cannot_be_trained_is_refused_with_what_to_try(folder, tmp_path_factory):
    video = Recipe(model="fastarcnn", degradation="hevc", patch_size=32)
    with pytest.raises(InputError, match="fastarcnn-luma"):
        load_data(video, images=folder)
    jpeg = Recipe(model="fastarcnn", degradation="jpeg", patch_size=32)
    with pytest.raises(InputError, match="--degradation"):
        load_data(jpeg, images=folder, clips=[folder / "a.mp4"], validation=folder)
    with pytest.raises(InputError, match="no pictures"):
        load_data(jpeg, images=tmp_path_factory.mktemp("empty"))
    with pytest.raises(InputError, match="smaller --patch-size"):
        load_data(Recipe(model="fastarcnn", degradation="jpeg", patch_size=128), images=folder)
