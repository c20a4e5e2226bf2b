"""The gain that weights are chosen by."""

import numpy as np
import pytest
import torch
from torch import nn

from postfilter.quality.metrics import psnr
from postfilter.training.jpeg import jpeg_pool
from postfilter.training.pool import PatchPool
from postfilter.training.validation import mean_gain_db


class Add(nn.Module):
    """Adds a share of the last plane of its input, as its whole correction."""

    def __init__(self, share):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(float(share)))

    def forward(self, planes):
        return planes[:, -1:] * self.share


def test_no_change_is_no_gain_and_harm_is_less(pictures):
    pool = jpeg_pool(pictures[:2], layout="luma", qualities=(20,))
    assert mean_gain_db(Add(0), pool, residual=True) == pytest.approx(0, abs=1e-5)
    assert mean_gain_db(Add(0.1), pool, residual=True) < -1


def test_the_gain_is_the_difference_of_psnr_of_rounded_samples(pictures):
    pool = jpeg_pool(pictures[:1], layout="luma", qualities=(20,))
    # 1.04 times each sample, rounded and clipped as an engine does.
    filtered = np.clip(np.rint(pool.degraded[0] * 1.04), 0, 255).astype(np.uint8)
    expected = psnr(filtered[0], pool.clean[0][0]) - psnr(pool.degraded[0][0], pool.clean[0][0])
    assert mean_gain_db(Add(0.04), pool, residual=True) == pytest.approx(expected, abs=0.02)


def test_a_model_that_reads_the_qp_is_told_it():
    degraded = np.full((1, 32, 32), 100, np.uint8)
    qp = np.full((2, 2), 20, np.uint8)
    # A correction of a tenth of the QP's code value, 20 * 5, is what is missing.
    pool = PatchPool([degraded], [degraded + 10], [qp])
    assert mean_gain_db(Add(0.1), pool, residual=True, told=True) > 30
    untold = PatchPool([degraded], [degraded + 10])
    assert mean_gain_db(Add(0.1), untold, residual=True, told=True) == pytest.approx(0, abs=1e-4)
