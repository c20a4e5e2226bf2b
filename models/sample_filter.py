"""From samples to samples: the reference that every engine is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SampleFilter"]


class SampleFilter(nn.Module):
    """A network with normalisation, residual addition, rounding and clipping around it.

    The network sees code values divided by the largest one; the addition is made in code values, where the input is
    exact, so that a lower precision inside the network touches the correction only.

    Args:
        network: maps float [N, C, H, W] in 0..1 to the same shape; or to its first channels, where further inputs stand
            behind the picture's.
        residual: whether the network's output is added to its input.
    """

    def __init__(self, network: nn.Module, *, residual: bool) -> None:
        super().__init__()
        self.network = network
        self.residual = residual

    def forward(self, samples: Tensor, peak: Tensor) -> Tensor:
        """Filter float32 code values.

        Args:
            samples: float32 [N, C, H, W], whole numbers in 0..peak; the picture's channels first.
            peak: float32 scalar, the largest code value: 255 for 8 bits, 1023 for 10.

        Returns:
            float32, the picture's channels, whole numbers in 0..peak.
        """
        output = self.network(samples / peak) * peak
        if self.residual:
            picture = samples if samples.shape[1] == output.shape[1] else samples[:, : output.shape[1]]
            output = picture + output
        # Not clamp(max=Tensor): ONNX and older backends take the two-sided form as two plain operators.
        return torch.minimum(torch.round(output).clamp_min(0.0), peak)
