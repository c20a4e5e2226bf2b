"""The card of a model: all that a runner must know of a network before its weights are read. Needs no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["PICTURES", "Layout", "ModelCard"]

Layout = Literal["luma", "rgb"]

PICTURES = ("previous", "next")
"""Inputs that are luma as the picture's own, the frames around it moved onto it; all others are planes of values."""


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
    """What the network reads besides the picture, as channels behind the picture's: `PICTURES` first, then planes, of
    which `qp` is QP / 51. It is then built with `inputs` set to this."""
    defaults: Mapping[str, float] = field(default_factory=dict)
    """Of the planes, the values that stand for "not known": the network then runs blind. One that is not among them is
    taken as `export.further` has it. For a picture that is not there the picture itself stands."""
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
    def pictures(self) -> tuple[str, ...]:
        """Those of `inputs` that are pictures."""
        return tuple(name for name in self.inputs if name in PICTURES)

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

    def gain_db(self, codec: str, qp: float) -> float | None:
        """What the shipped weights gained where they were evaluated, ΔPSNR in dB: to rank models by.

        Args:
            codec: that a clip was coded with, `h264`, `hevc` or another; models that were not evaluated on it are taken
                by all codecs that they were evaluated on.
            qp: of the clip, on the scale of H.264 and HEVC; the nearest that was evaluated counts.

        Returns:
            The mean over the clips of the evaluation, or over its JPEG pictures of all qualities where it has no clips;
            None where the weights come without results.
        """
        rows = self.training().get("results", {}).get("rows", [])
        clips = [row for row in rows if "delta_psnr" in row]
        clips = [row for row in clips if row["codec"] == codec] or clips
        if clips:
            nearest = min((row["qp"] for row in clips), key=lambda each: abs(each - qp))
            return statistics.fmean(row["delta_psnr"] for row in clips if row["qp"] == nearest)
        coded = {row["quality"]: row["psnr"] for row in rows if row.get("method") == "jpeg"}
        gains = [row["psnr"] - coded[row["quality"]] for row in rows if row.get("method") == self.name]
        return statistics.fmean(gains) if gains else None
