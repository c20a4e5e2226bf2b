"""ARCNN: Dong, Deng, Loy, Tang, "Compression Artifacts Reduction by a Deep Convolutional Network", ICCV 2015."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ARCNN"]


class ARCNN(nn.Module):
    """Feature extraction 9x9, enhancement 7x7, mapping 1x1, reconstruction 5x5; one PReLU slope a layer.

    The parameter names (`base.N`, `last`) are those of the common public PyTorch implementations, so their state
    dicts load as they are.

    Args:
        channels: 1 (luma) or 3 (RGB): of the input and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.base = nn.Sequential(
            nn.Conv2d(channels, 64, 9, padding=4),
            nn.PReLU(),
            nn.Conv2d(64, 32, 7, padding=3),
            nn.PReLU(),
            nn.Conv2d(32, 16, 1),
            nn.PReLU(),
        )
        self.last = nn.Conv2d(16, channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, channels, H, W] to the same shape: a correction or a picture (`ModelCard.residual`)."""
        y: Tensor = self.last(self.base(x))
        return y
