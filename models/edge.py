"""The edge family: plain 3x3 convolutions at reduced resolution, for real time on small machines."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from postfilter.models.card import PICTURES

__all__ = ["Edge"]


class Edge(nn.Module):
    """Pixel-unshuffle, 3x3 convolutions with ReLU, pixel-shuffle: what every backend fuses and runs in int8.

    The whole network works on one sample in `unshuffle` x `unshuffle`, where a narrow layer fills the vector units and
    a 3x3 kernel reaches far. The shuffles are those of Shi et al. 2016 ("Real-Time Single Image and Video
    Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network").

    Args:
        channels: of the picture, 1 for luma.
        width: channels of the hidden layers.
        depth: convolutions, the first and the last among them.
        unshuffle: side of the square of samples that becomes one.
        inputs: names of what stands behind the picture's channels: pictures of one channel, then planes that are
            constant over squares of `unshuffle` samples.
    """

    def __init__(
        self, channels: int = 1, *, width: int, depth: int, unshuffle: int, inputs: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.channels, self.unshuffle = channels, unshuffle
        self.leak = 0.0
        """What of a negative value a ReLU lets pass; other than 0 while training alone, see `training.schedule`."""
        self.pictures = channels + sum(name in PICTURES for name in inputs)
        folded = channels * unshuffle**2
        read = self.pictures * unshuffle**2 + channels + len(inputs) - self.pictures
        sides = [read, *[width] * (depth - 1), folded]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(sides)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float [N, channels + inputs, H, W], sides multiples of `unshuffle`, to the correction of the picture.

        Returns:
            float [N, channels, H, W].
        """
        step = self.unshuffle
        folded = F.pixel_unshuffle(x[:, : self.pictures], step)
        if x.shape[1] > self.pictures:
            folded = torch.cat([folded, x[:, self.pictures :, ::step, ::step]], dim=1)
        for layer in self.layers[:-1]:
            folded = layer(folded)
            folded = F.leaky_relu(folded, self.leak) if self.leak else F.relu(folded)
        return F.pixel_shuffle(self.layers[-1](folded), step)
