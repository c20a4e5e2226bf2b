from __future__ import annotations

import numpy as np
import pytest

from postfilter.quantize.network_input import Origin, sample_covariance
from postfilter.quantize.weight_rounding import rounded_weight, to_steps, weight_steps


def _weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _on_pictures(weight: np.ndarray) -> np.ndarray:
    channels = weight.shape[1]
    return sample_covariance(Origin.of_samples(channels, picture=channels), *weight.shape[2:])


def _error(weight: np.ndarray, steps: np.ndarray) -> np.ndarray:
    along = steps.reshape(-1, *[1] * (weight.ndim - 1))
    return ((to_steps(weight, steps) * along - weight) ** 2).reshape(len(weight), -1).sum(axis=1)


@pytest.mark.parametrize("shape", [(8, 3, 9, 9), (5, 64, 1, 1), (3, 7)])
def test_no_channel_loses_more_than_with_its_largest_weight_at_the_end(shape):
    weight = _weight(*shape)
    steps = weight_steps(weight)
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    assert steps.shape == (shape[0],) and steps.dtype == np.float32
    assert (steps > 0).all() and (steps <= largest * 1.0001).all()
    assert (_error(weight, steps) <= _error(weight, largest.astype(np.float32)) * 1.0001).all()


def test_one_far_weight_is_clipped_where_that_loses_less():
    weight = _weight(1, 20_000)
    weight[0, 0] = 12  # about three times as far as the others reach
    (step,) = weight_steps(weight)
    assert step < 0.95 * 12 / 127
    assert to_steps(weight, np.array([step], np.float32))[0, 0] == 127


def test_whole_steps_stay_as_they_are():
    steps = np.random.default_rng(1).integers(-127, 128, (4, 6, 3, 3))
    steps[:, 0, 0, 0] = [127, -127, 127, -127]
    weight = (steps / 512).astype(np.float32)
    np.testing.assert_array_equal(to_steps(weight, weight_steps(weight)), steps)
    for covariance in (None, _on_pictures(weight)):
        whole, step = rounded_weight(weight, covariance=covariance)
        np.testing.assert_array_equal(whole, steps)
        np.testing.assert_array_equal(whole * step[:, None, None, None], weight)


def test_each_channel_has_its_own_step():
    weight = _weight(3, 4, 3, 3)
    scaled = weight * np.array([1, 10, 0.01], np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(weight_steps(scaled) / weight_steps(weight), [1, 10, 0.01], rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-38])
def test_a_channel_of_zeros_gets_a_step_that_every_backend_can_use(value):
    weight = _weight(2, 4, 3, 3)
    weight[1] = value
    steps = weight_steps(weight)
    assert steps[1] == 1
    for covariance in (None, _on_pictures(weight)):
        whole, step = rounded_weight(weight, covariance=covariance)
        assert not whole[1].any()
        assert np.isfinite(step).all()


def test_the_most_negative_number_is_never_used():
    # -128 has no positive counterpart: symmetric int8 ends at -127.
    assert to_steps(np.array([[-1.0, 1.0]]), np.array([1 / 200], np.float32)).tolist() == [[-127, 127]]


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_on_a_picture_are_rounded_so_that_bright_areas_keep_their_level(channels):
    weight = _weight(16, channels, 9, 9)
    nearest, step = rounded_weight(weight)
    together, same = rounded_weight(weight, covariance=_on_pictures(weight))
    np.testing.assert_array_equal(step, same)
    assert np.abs(together).max() <= 127

    def shift(whole: np.ndarray) -> np.ndarray:
        """What comes out of a flat area of 1 that should not."""
        return ((whole * step[:, None, None, None] - weight) / step[:, None, None, None]).sum(axis=(1, 2, 3))

    assert np.abs(shift(together)).mean() < np.abs(shift(nearest)).mean() / 3


def test_no_channel_loses_on_pictures_by_being_rounded_together():
    weight = _weight(8, 3, 5, 5)
    covariance = _on_pictures(weight)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    steps = weight_steps(weight)

    def losses(whole: np.ndarray) -> np.ndarray:
        off = (whole * steps[:, None, None, None] - weight).reshape(8, -1)
        return ((off @ covariance) * off).sum(axis=1)

    assert (losses(to_steps(weight, steps, covariance=covariance)) <= losses(to_steps(weight, steps)) + 1e-9).all()
