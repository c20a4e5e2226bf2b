"""The card of a model: all that a runner must know of a network before its weights are read. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Layout", "ModelCard"]

Layout = Literal["luma", "rgb"]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a network takes, gives and costs."""

    name: str
    """As typed on the command line."""
    architecture: str
    """`module:Class` of the network, imported when it is built."""
    layout: Layout
    """`luma`: one channel, the Y plane; `rgb`: three channels, full-range R'G'B'."""
    residual: bool
    """Whether the network's output is added to its input (our weights) or replaces it (most public checkpoints)."""
    size_multiple: int
    """Height and width must be multiples of this; runners pad by edge replication and crop back."""
    halo: int
    """Receptive-field radius in samples: how far away an input sample can change an output sample."""
    summary: str
    """One sentence: what it is, and the paper."""
    inputs: tuple[str, ...] = ()
    """What the network reads besides the picture, as channels behind the picture's: `qp` is a plane of QP / 51. It is
    then built with `inputs` set to this."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """Of those inputs, the values that stand for "not known": the network then runs blind. An input that is not among
    them is taken as `export.further` has it."""
    settings: Mapping[str, int] = field(default_factory=dict)
    """What else the network is built with."""

    @property
    def channels(self) -> int:
        """Of the picture: 1 for luma, 3 for RGB."""
        return 1 if self.layout == "luma" else 3

    @property
    def input_channels(self) -> int:
        """Of what the network is given: the picture's, and one for each further input."""
        return self.channels + len(self.inputs)

    @property
    def weights_path(self) -> Path:
        """The safetensors file shipped with the package."""
        return Path(__file__).parent / "weights" / f"{self.name}.safetensors"

    @property
    def ranges_path(self) -> Path:
        """The JSON file of the int8 ranges of the shipped weights; see `quantize.ranges`."""
        return self.weights_path.with_suffix(".ranges.json")

    def training(self) -> dict[str, Any]:
        """How the shipped weights were made: data, recipe, results, licence note; empty where none are shipped."""
        path = self.weights_path.with_suffix(".json")
        return json.loads(path.read_text()) if path.exists() else {}
