"""Patches drawn from pairs of pictures."""

import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.training.pool import PatchPool

SIDE = 32


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 200, (1, 48, 64), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope="module")
def told(clean):
    """Every block's QP is another, so that a wrong place shows."""
    levels = [np.arange(12, dtype=np.uint8).reshape(3, 4) + 12 * number for number in range(3)]
    # The samples tell the same as the QP.
    marked = [np.repeat(np.repeat(each, 16, 0), 16, 1)[None] for each in levels]
    return PatchPool(marked, clean, levels)


def draw(pool, seed=1, **options):
    options = {"batch_size": 24, "patch_size": SIDE, "augmentation": True} | options
    return pool.draw(np.random.default_rng(seed), **options)


def test_patches_are_the_same_place_of_both_pictures(clean):
    batch = draw(PatchPool([picture + 7 for picture in clean], clean))
    assert batch.degraded.shape == (24, 1, SIDE, SIDE)
    assert np.array_equal(batch.degraded, batch.clean + 7)
    assert np.allclose(batch.errors, 49)


def test_drawing_is_decided_by_the_generator_alone(told):
    first, again, other = (draw(told, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.degraded, again.degraded)
    assert not np.array_equal(first.degraded, other.degraded)


def test_the_qp_follows_place_and_turns(told):
    batch = draw(told, blind=0.0)
    assert batch.degraded.shape == (24, 2, SIDE, SIDE) and batch.clean.shape == (24, 1, SIDE, SIDE)
    # As code values: engines are told 51 as 255.
    assert np.array_equal(batch.degraded[:, 1], batch.degraded[:, 0] * 5)


def test_the_qp_is_withheld_from_the_blind_share(told):
    def share(blind):
        return float(np.mean([not patch[1].any() for patch in draw(told, batch_size=400, blind=blind).degraded]))

    assert share(1.0) == 1
    # Of the first picture's blocks one in 36 has QP 0, never all of a patch.
    assert share(0.0) == 0
    assert share(0.3) == pytest.approx(0.3, abs=0.07)


def test_without_a_qp_nothing_is_told(clean):
    batch = draw(PatchPool(clean, clean), blind=0.2)
    assert not batch.degraded[:, 1].any()


def test_patches_begin_on_the_grid_asked_for(told):
    batch = draw(told, grid=16, augmentation=False)
    # On the grid of blocks each quarter of a patch has one level.
    quarters = batch.degraded[:, 0].reshape(24, 2, 16, 2, 16)
    assert np.all(quarters == quarters[:, :, :1, :, :1])


def test_larger_pictures_are_drawn_more_often():
    small, large = np.zeros((1, 32, 32), np.uint8), np.ones((1, 96, 96), np.uint8)
    batch = draw(PatchPool([small, large], [small, large]), batch_size=500)
    assert batch.clean[:, 0, 0, 0].mean() == pytest.approx(0.9, abs=0.05)


def test_joined_pools_hold_both_and_know_what_both_know(told, clean):
    assert len((told + told).clean) == 6 and len((told + told).qp) == 6
    assert (told + PatchPool(clean, clean)).qp is None


def test_pools_without_pictures_or_of_unlike_sizes_are_refused(clean):
    with pytest.raises(InputError, match="no training pictures"):
        PatchPool([], [])
    with pytest.raises(ValueError, match=r"\(1, 32, 32\)"):
        PatchPool([np.zeros((1, 32, 32), np.uint8)], clean[:1])
