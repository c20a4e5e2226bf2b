"""How much better a network makes whole pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from postfilter.models.sample_filter import SampleFilter
from postfilter.training.pool import PatchPool

__all__ = ["mean_gain_db"]


@torch.no_grad()
def mean_gain_db(network: nn.Module, pictures: PatchPool, *, residual: bool) -> float:
    """Mean over pictures of PSNR(filtered) - PSNR(degraded) in dB, on 8-bit samples as an engine gives them.

    Args:
        network: in evaluation mode; maps float [1, C, H, W] in 0..1.
        pictures: sides must be multiples of what the network needs.
        residual: whether the network's output is added to its input.
    """
    device = next(network.parameters()).device
    sample_filter = SampleFilter(network, residual=residual).to(device)
    peak = torch.tensor(255.0, device=device)
    gains = []
    for degraded, clean in zip(pictures.degraded, pictures.clean, strict=True):
        before = torch.from_numpy(degraded).to(device)[None].float()
        target = torch.from_numpy(clean).to(device)[None].float()
        gains.append(_log_error(before, target) - _log_error(sample_filter(before, peak), target))
    return float(np.mean(gains))


def _log_error(picture: Tensor, target: Tensor) -> float:
    """Ten times the decimal logarithm of the mean squared error; 1e-4 stands for none."""
    return 10 * float(torch.log10((picture - target).square().mean().clamp_min(1e-4)))
