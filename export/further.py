"""What a model reads besides the picture: how its engines declare it, and values to verify them with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import UnknownNameError
from postfilter.runtime.further_inputs import BLOCK, FurtherInput
from postfilter.runtime.neighbours import NEIGHBOURS

if TYPE_CHECKING:
    from postfilter.models import ModelCard

__all__ = ["INPUTS", "declared_inputs", "drawn_inputs"]

INPUTS = {
    "qp": FurtherInput(name="qp", maximum=51, default=37),
    **{name: FurtherInput(name=name, kind="picture") for name in NEIGHBOURS},
}
"""Name in `ModelCard.inputs` -> how an engine declares it. Without a QP it takes the middle of what video is coded at
where a filter is worth its time."""


def declared_inputs(card: ModelCard) -> tuple[FurtherInput, ...]:
    """Return what the engines of a model declare.

    Raises:
        UnknownNameError: the card names an input that nobody could feed.
    """
    if unknown := [name for name in card.inputs if name not in INPUTS]:
        raise UnknownNameError("input", unknown[0], tuple(INPUTS))
    return tuple(
        dataclasses.replace(INPUTS[name], default=card.defaults.get(name, INPUTS[name].default)) for name in card.inputs
    )


def drawn_inputs(card: ModelCard, frame: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return what a model may be told of a frame [N, C, H, W], the same each time.

    Of planes another value in each block; for pictures the frame's own first channel, each a little further aside.
    """
    frames, _, height, width = frame.shape
    random = np.random.default_rng(height * width)
    shape = (frames, -(-height // BLOCK), -(-width // BLOCK))
    return {
        each.name: np.roll(frame[:, 0], number, axis=2)
        if each.kind == "picture"
        else random.uniform(0, each.maximum, shape).astype(np.float32).round()
        for number, each in enumerate(declared_inputs(card), start=1)
    }
