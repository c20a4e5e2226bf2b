"""Ranges: how large the values are that the network's layers read, so that eight bits can be laid over them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import WeightsError

if TYPE_CHECKING:
    from postfilter.models import ModelCard

__all__ = ["Ranges", "read_ranges", "recorded_ranges", "write_ranges"]


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What a calibration found of one set of weights."""

    model: str
    weights_sha256: str
    """Of the weights that were calibrated; the ranges hold for no others."""
    steps: dict[str, float]
    """Graph value -> what one step of int8 is worth in it. What is further than 127 steps from the centre is clipped.
    The network's own input is not listed: its step is one code value of 8 bits, which is exact."""
    centres: dict[str, float] = field(default_factory=dict)
    """Graph value -> what is subtracted before; 0 where it is not listed."""
    scales: dict[str, list[float]] = field(default_factory=dict)
    """Graph value -> what each of its channels is divided by first; see `equalisation`. Its step is that of the result.
    Channels of values that are not listed stay as they are."""
    source: str
    """The clips or pictures calibrated on, in words."""
    frames: int
    """How many frames of them."""
    fidelity_db: float = 0.0
    """PSNR of the int8 network's correction against the fp32 network's on those frames, peak 255."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return asdict(self)


def recorded_ranges(card: ModelCard, *, weights_sha256: str) -> Ranges:
    """Return the ranges that are shipped with a model's own weights.

    Args:
        card: of the model.
        weights_sha256: of the weights in use.

    Raises:
        WeightsError: the weights are not the ones that were calibrated.
    """
    path = card.ranges_path
    found = read_ranges(path) if path.is_file() else None
    if found is None or found.weights_sha256 != weights_sha256:
        raise WeightsError(
            f"int8 needs the ranges of these weights of {card.name}, and only those of the shipped ones are recorded; "
            "give typical decoded clips or pictures with --calibrate"
        )
    return found


def read_ranges(path: Path) -> Ranges:
    """Read what `write_ranges` wrote.

    Raises:
        WeightsError: the file is absent or holds something else.
    """
    try:
        content = json.loads(path.read_text())
        ranges = Ranges(**content)
        usable = all(math.isfinite(step) and step > 0 for step in ranges.steps.values())
        usable = usable and all(map(math.isfinite, ranges.centres.values()))
        usable = usable and all(math.isfinite(each) and each > 0 for scale in ranges.scales.values() for each in scale)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} holds no ranges ({error}); calibrate again with --calibrate") from error
    if not usable:
        raise WeightsError(
            f"{path} holds a step, a centre or a scale that cannot be used; calibrate again with --calibrate"
        )
    return ranges


def write_ranges(ranges: Ranges, path: Path) -> None:
    """Write ranges as JSON."""
    path.write_text(json.dumps(ranges.as_json(), indent=1) + "\n")
