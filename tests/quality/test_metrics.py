"""The metrics against cases done by hand and against scikit-image."""

import math

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from postfilter.errors import InputError
from postfilter.quality import blocking_effect, finite_psnr, jpeg_round_trip, psnr, psnr_b, ssim


def pair(quality: int = 10) -> tuple[np.ndarray, np.ndarray]:
    picture = np.ascontiguousarray(data.astronaut()[40:205, 130:301])
    return picture, jpeg_round_trip(picture, quality=quality)


def test_psnr_of_a_constant_error():
    a = np.full((4, 6), 100, np.uint8)
    assert psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(a, a - np.uint8(5)) == pytest.approx(20 * math.log10(51))
    assert psnr(a.astype(np.uint16) * 4, a.astype(np.uint16) * 4 + 4, peak=1020) == pytest.approx(48.1308, abs=1e-4)


def test_psnr_does_not_wrap_around():
    black, white = np.zeros((3, 3), np.uint8), np.full((3, 3), 255, np.uint8)
    assert psnr(black, white) == psnr(white, black) == 0
    wide = np.array([[0, 65535]], np.uint16)
    assert psnr(wide, wide[:, ::-1], peak=65535) == 0


def test_identical_pictures():
    picture = data.camera()
    assert psnr(picture, picture) == math.inf
    assert finite_psnr(picture, picture) == 100
    assert ssim(picture, picture) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("quality", [5, 40, 90])
def test_psnr_and_ssim_agree_with_scikit_image(quality):
    source, coded = pair(quality)
    assert psnr(coded, source) == pytest.approx(peak_signal_noise_ratio(source, coded), abs=1e-9)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    want = structural_similarity(source, coded, channel_axis=2, **settings)
    assert ssim(coded, source) == pytest.approx(want, abs=1e-7)
    assert ssim(coded[..., 1], source[..., 1]) == pytest.approx(
        structural_similarity(source[..., 1], coded[..., 1], **settings), abs=1e-7
    )


def test_blocking_effect_of_steps_at_block_edges():
    # Blocks of 8 in a plane of 16x16 that differ by 6 from left to right: 16 edge steps of 36 across, 16 of 0 down.
    plane = np.zeros((16, 16), np.uint8)
    plane[:, 8:] = 6
    assert blocking_effect(plane) == pytest.approx((16 * 36) / 32 * 3 / 4)
    assert psnr_b(plane, plane) == pytest.approx(10 * math.log10(255**2 / 13.5))
    error = plane + np.uint8(2)
    assert psnr_b(error, plane) == pytest.approx(10 * math.log10(255**2 / (4 + 13.5)))


def test_edges_elsewhere_are_no_blocking():
    plane = np.zeros((32, 32), np.uint8)
    plane[:, 12:] = 90
    assert blocking_effect(plane) == 0
    assert psnr_b(plane, plane) == math.inf


def test_blocking_counts_steps_inside_blocks_against_it():
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 40, (64, 64)).astype(np.uint8)
    steps = noise + np.where(np.arange(64) // 8 % 2, 60, 0).astype(np.uint8)
    at_edges = [(float(steps[y, x + 1]) - steps[y, x]) ** 2 for y in range(64) for x in range(7, 63, 8)]
    at_edges += [(float(steps[y + 1, x]) - steps[y, x]) ** 2 for y in range(7, 63, 8) for x in range(64)]
    inside = [(float(steps[y, x + 1]) - steps[y, x]) ** 2 for y in range(64) for x in range(63) if x % 8 != 7]
    inside += [(float(steps[y + 1, x]) - steps[y, x]) ** 2 for y in range(63) for x in range(64) if y % 8 != 7]
    want = (np.mean(at_edges) - np.mean(inside)) * 3 / 6
    assert want > 100
    assert blocking_effect(steps) == pytest.approx(want)


def test_blocking_lowers_psnr_b_of_rgb_by_its_luma():
    source, coded = pair(10)
    luma = coded @ (np.array([65.481, 128.553, 24.966]) / 255)
    mse = np.mean((coded.astype(float) - source) ** 2)
    want = 10 * math.log10(255**2 / (mse + blocking_effect(luma)))
    assert psnr_b(coded, source) == pytest.approx(want, abs=1e-9)
    assert psnr_b(coded, source) < psnr(coded, source) - 0.5


@pytest.mark.parametrize(
    ("metric", "a", "b"),
    [
        (psnr, np.zeros((4, 4)), np.zeros((4, 5))),
        (psnr, np.zeros((0, 4)), np.zeros((0, 4))),
        (ssim, np.zeros((10, 40)), np.zeros((10, 40))),
        (psnr_b, np.zeros((15, 40)), np.zeros((15, 40))),
    ],
)
def test_what_cannot_be_compared_is_told(metric, a, b):
    with pytest.raises(InputError, match=r"got .*shape|got a plane"):
        metric(a, b)
