"""A model as a filter of samples, without an engine: for training, and to compare engines with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.models.sample_filter import SampleFilter

if TYPE_CHECKING:
    from postfilter.models import Model

__all__ = ["NetworkFilter"]

_PEAK = 255
_LARGEST = {"qp": 51.0}
"""What is written as the largest code value, by name of the input."""


class NetworkFilter:
    """Filters 8-bit planes by PyTorch, as the engines of the model do.

    Args:
        model: its network may be on any device, and be trained on between calls.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._filter = SampleFilter(model.network, residual=model.card.residual)

    def __call__(
        self, planes: NDArray[np.uint8], *, inputs: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.uint8]:
        """Filter planes and return them, as a new array.

        Args:
            planes: uint8 [N, C, H, W], C = 1 for luma and 3 for RGB.
            inputs: what the model reads besides, by name: of a picture uint8 [N, H, W], of a plane a number, or one for
                each block of 16x16 samples, [N, ceil(H / 16), ceil(W / 16)]. Those left out are what the card has for
                "not known", and the picture itself for another one.

        Raises:
            InputError: one is left out for which the card has nothing.
        """
        height, width = planes.shape[2:]
        card = self.model.card
        told: dict[str, Any] = {**dict.fromkeys(card.pictures, planes[:, 0]), **card.defaults, **(inputs or {})}
        if missing := [name for name in card.inputs if name not in told]:
            raise InputError(f"{card.name} reads {missing[0]} beside the picture, and got none; give it in inputs")
        further = [
            told[name][:, None] if name in card.pictures else _plane(told[name], _LARGEST[name], planes)
            for name in card.inputs
        ]
        samples = np.concatenate([planes, *further], axis=1).astype(np.float32)
        multiple = card.size_multiple
        margins = ((0, 0), (0, 0), (0, -height % multiple), (0, -width % multiple))
        device = next(self.model.network.parameters()).device
        training = self.model.network.training
        self.model.network.eval()
        with torch.inference_mode():
            given = torch.from_numpy(np.pad(samples, margins, mode="edge")).to(device)
            made = self._filter(given, torch.tensor(float(_PEAK), device=device))
        self.model.network.train(training)
        return np.ascontiguousarray(made[..., :height, :width].cpu().numpy().astype(np.uint8))


def _plane(value: Any, largest: float, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Code values [N, 1, H, W] of one input."""
    frames, _, height, width = planes.shape
    codes = np.rint(np.clip(np.asarray(value, np.float32), 0, largest) * (_PEAK / largest)).astype(np.uint8)
    if codes.ndim:
        codes = codes.repeat(16, axis=1).repeat(16, axis=2)[:, None, :height, :width]
    return np.broadcast_to(codes, (frames, 1, height, width))
