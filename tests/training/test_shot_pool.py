"""Pools of frames with their neighbours: what a temporal network is shown while it is trained."""

import numpy as np
import pytest

from postfilter.runtime.neighbours import neighbours_of
from postfilter.training import PatchPool, Recipe, load_data
from postfilter.training.shot_pool import alone, pool_of, read_surrounded, write_surrounded
from postfilter.training.shots import Shot


@pytest.fixture(scope="module")
def shots(moving):
    """Two shots of four frames; what a codec did to them is one code value."""
    qp = np.full((4, 6, 8), 30, np.uint8)
    return [Shot(moving[first : first + 4] ^ 1, moving[first : first + 4], qp) for first in (0, 10)]


def test_frames_come_first_and_their_neighbours_behind_them(shots, tmp_path):
    pool = read_surrounded(write_surrounded(shots, cache=tmp_path), pool_of(shots))
    assert len(pool.degraded) == 8 and {each.shape for each in pool.degraded} == {(3, 96, 128)}
    for number, three in enumerate(pool.degraded):
        shown, index = shots[number // 4].degraded[:, None, None], number % 4
        around = neighbours_of(
            shown[index], shown[index - 1] if index else None, shown[index + 1] if index < 3 else None
        )
        assert np.array_equal(three, np.concatenate([shown[index, 0], around["previous"], around["next"]]))
    assert np.array_equal(pool.degraded[0][1], pool.degraded[0][0])  # the first of a shot has none before it
    assert not np.array_equal(pool.degraded[1][1], pool.degraded[1][0])


def test_they_are_found_once_for_the_same_frames(shots, tmp_path):
    first = write_surrounded(shots, cache=tmp_path, frames=(1, 2))
    written = first.stat().st_mtime_ns
    assert write_surrounded(shots, cache=tmp_path, frames=(1, 2)).stat().st_mtime_ns == written
    assert write_surrounded(shots, cache=tmp_path, frames=(1,)) != first
    assert [each.name for each in tmp_path.glob("*.partial")] == []


def test_patches_hold_the_same_place_of_all_three_and_the_clean_frame_alone(shots, tmp_path):
    pool = read_surrounded(write_surrounded(shots, cache=tmp_path), pool_of(shots))
    batch = pool.draw(np.random.default_rng(1), batch_size=6, patch_size=32, augmentation=True, blind=0.0)
    assert batch.degraded.shape == (6, 4, 32, 32) and batch.clean.shape == batch.taught.shape == (6, 1, 32, 32)
    assert np.array_equal(batch.degraded[:, 0] ^ 1, batch.clean[:, 0])
    assert set(np.unique(batch.degraded[:, 3])) == {150}
    apart = np.abs(batch.degraded[:, 1:3].astype(int) - batch.degraded[:, :1])
    assert (
        apart.mean() < 8 < np.abs(np.roll(batch.degraded[:, :1], 9, axis=3).astype(int) - batch.degraded[:, :1]).mean()
    )
    assert np.allclose(batch.errors, 1)


def test_stills_are_their_own_neighbours():
    picture = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    (three,) = alone(PatchPool([picture], [picture])).degraded
    assert three.shape == (3, 16, 16) and three.base is not None and np.array_equal(three[2], picture[0])


def test_a_temporal_student_may_have_a_teacher_of_single_frames(folder, tmp_path):
    recipe = Recipe(
        model="edge-t",
        degradation="hevc",
        pans=1,
        qp=(40, 44),
        patch_size=32,
        steps=1,
        threads=2,
        teacher="fastarcnn-luma",
    )
    data = load_data(recipe, images=[folder], cache=tmp_path)
    assert data.first is not None and data.first.degraded[0].shape[0] == 3
    assert data.taught is not None and data.taught.degraded[0].shape[0] == 3 and data.taught.taught is not None
    assert data.taught.taught[0].shape == data.taught.clean[0].shape
    assert all(pool.degraded[0].shape[0] == 3 for pool in data.validation.values())
