"""How much better a network makes whole pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from postfilter.models.sample_filter import SampleFilter
from postfilter.runtime.further_inputs import BLOCK
from postfilter.training.pool import PatchPool, as_codes

__all__ = ["mean_gain_db"]


@torch.no_grad()
def mean_gain_db(network: nn.Module, pictures: PatchPool, *, residual: bool, told: bool = False) -> float:
    """Mean over pictures of PSNR(filtered) - PSNR(degraded) in dB, on 8-bit samples as an engine gives them.

    Args:
        network: in evaluation mode; maps float [1, C, H, W] in 0..1 to the picture's channels.
        pictures: sides must be multiples of what the network needs.
        residual: whether the network's output is added to its input.
        told: whether the network reads the QP behind the picture; 0 where the pictures have none.
    """
    device = next(network.parameters()).device
    sample_filter = SampleFilter(network, residual=residual).to(device)
    peak = torch.tensor(255.0, device=device)
    gains = []
    for index, (degraded, clean) in enumerate(zip(pictures.degraded, pictures.clean, strict=True)):
        before = torch.from_numpy(np.array(degraded)).to(device)[None].float()
        target = torch.from_numpy(np.ascontiguousarray(clean)).to(device)[None].float()
        given, before = before, before[:, : target.shape[1]]
        if told:
            plane = torch.zeros_like(before[:, :1])
            if pictures.qp is not None:
                blocks = torch.from_numpy(as_codes(pictures.qp[index])).float()
                levels = blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
                plane[0, 0] = levels[: plane.shape[2], : plane.shape[3]]
            given = torch.cat([given, plane], dim=1)
        gains.append(_log_error(before, target) - _log_error(sample_filter(given, peak), target))
    return float(np.mean(gains))


def _log_error(picture: Tensor, target: Tensor) -> float:
    """Ten times the decimal logarithm of the mean squared error; 1e-4 stands for none."""
    return 10 * float(torch.log10((picture - target).square().mean().clamp_min(1e-4)))
