"""Bjøntegaard's measures through the library."""

import pytest

from postfilter.quality.bd import bd_measures

pytest.importorskip("bjontegaard")
KBPS = [2000.0, 1000.0, 500.0, 250.0]
DECODED = [42.0, 39.0, 36.0, 33.0]


def test_a_constant_gain_is_the_bd_psnr_and_saves_bits():
    rate, gain = bd_measures(KBPS, DECODED, [each + 0.2 for each in DECODED])
    assert gain == pytest.approx(0.2)
    assert rate == pytest.approx((2 ** (-0.2 / 3) - 1) * 100, rel=1e-6)  # halving the rate costs 3 dB
    assert bd_measures(KBPS[::-1], DECODED[::-1], DECODED[::-1]) == (pytest.approx(0), pytest.approx(0))


def test_curves_that_share_no_range_give_no_rate():
    rate, gain = bd_measures(KBPS, DECODED, [each + 30 for each in DECODED])
    assert rate is None and gain == pytest.approx(30)
