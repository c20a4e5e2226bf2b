"""The losses are the measures that they stand for."""

import numpy as np
import pytest
import torch

from postfilter.quality.images import jpeg_round_trip
from postfilter.quality.metrics import blocking_effect
from postfilter.training.losses import excess_blocking, patch_error, relative_error
from postfilter.training.pool import PatchPool

BT601_STUDIO = np.array([65.481, 128.553, 24.966]) / 255


@pytest.fixture(scope="module")
def pair(photograph):
    clean = photograph[:256, 100:356]
    return jpeg_round_trip(clean, quality=10), clean


def tensor(picture):
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))[None].astype(np.float32) / 255)


def test_the_error_loss_is_the_root_mean_squared_error_in_code_values(pair):
    degraded, clean = pair
    expected = float(np.square(degraded.astype(float) - clean).mean()) ** 0.5
    # The guard against an infinite slope adds 0.1 under the root.
    assert float(patch_error(tensor(degraded), tensor(clean))) == pytest.approx(expected, abs=0.02)
    assert float(patch_error(tensor(clean), tensor(clean))) == pytest.approx(0.1**0.5)


def test_the_blocking_loss_is_the_blocking_effect_factor_of_psnr_b(pair):
    degraded, clean = pair
    # On 256x256 the factor for size is 3/8. Clean luma has a factor of its own, below 0 before it is clipped.
    expected = blocking_effect(degraded @ BT601_STUDIO) / (3 / 8)
    flat = torch.full_like(tensor(clean), 0.5)
    assert expected > 10
    assert float(excess_blocking(tensor(degraded), flat, torch.tensor([1.0]))) == pytest.approx(expected, rel=1e-3)
    assert float(excess_blocking(tensor(clean), tensor(clean), torch.tensor([1.0]))) == 0


def test_patches_on_a_grid_keep_the_block_edges_in_place_when_turned(pair):
    degraded, clean = (picture.transpose(2, 0, 1) for picture in pair)
    pool = PatchPool([degraded], [clean])

    def blocking(grid: int) -> float:
        batch = pool.draw(np.random.default_rng(0), batch_size=64, patch_size=48, augmentation=True, grid=grid)
        patches = [torch.from_numpy(each.astype(np.float32) / 255) for each in (batch.degraded, batch.clean)]
        return float(excess_blocking(*patches, torch.from_numpy(batch.errors)))

    assert blocking(grid=8) > 3 * blocking(grid=1)


def test_the_relative_error_is_in_units_of_the_picture_s_own():
    clean = torch.zeros(2, 1, 16, 16)
    degraded = clean + torch.tensor([2.0, 20.0]).view(2, 1, 1, 1) / 255
    errors = torch.tensor([4.0, 400.0])
    # Twice the error is twice the loss, whether the picture was coded well or badly.
    assert float(relative_error(degraded, clean, degraded, errors, harm=0)) == pytest.approx(1, abs=0.01)
    assert float(relative_error(2 * degraded, clean, degraded, errors, harm=0)) == pytest.approx(2, abs=0.01)


def test_harm_weighs_only_patches_that_became_worse():
    clean = torch.zeros(2, 1, 16, 16)
    degraded = clean + 10 / 255
    errors = torch.full((2,), 100.0)
    factors = torch.tensor([0.5, 1.5]).view(2, 1, 1, 1)
    plain, harmed = (float(relative_error(degraded * factors, clean, degraded, errors, harm=harm)) for harm in (0, 2))
    # Of two patches one is worse by half of the picture's error.
    assert harmed - plain == pytest.approx(2 * 0.5 / 2, abs=0.01)
    better, harmless = (float(relative_error(degraded / 2, clean, degraded, errors, harm=harm)) for harm in (0, 2))
    assert better == harmless
