"""Is the engine still the model? Its output against the PyTorch reference, sample by sample, on decoded frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from postfilter.errors import VerificationError
from postfilter.export.further import declared_inputs, drawn_inputs
from postfilter.quality.metrics import PSNR_OF_IDENTICAL_DB

if TYPE_CHECKING:
    from postfilter.models import Model
    from postfilter.runtime import Engine

__all__ = ["GATES_DB", "Verification", "check_gate", "reference_output", "verify_engine"]

GATES_DB = {"fp32": 70.0, "fp16": 50.0, "bf16": 50.0, "int8": 40.0}
"""The least PSNR between engine and reference. Backends add in different orders, so a sum close to a half is now and
then rounded the other way: at 70 dB in at most 0.65 % of the samples, where each differs by one code. Int8 is judged by
what it keeps of the model's gain (`export.judgement`); this gate finds what is broken."""

_PEAK = 255


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How an engine's output differs from the reference's; both 8-bit."""

    psnr_db: float
    """Over all samples of all frames; at most `PSNR_OF_IDENTICAL_DB`, which identical outputs get."""
    max_abs_diff: int
    """The largest difference, in code values."""
    differing: float
    """Share of samples that differ, 0..1."""
    frames: int
    """Frames compared."""
    mean_change: float = 0.0
    """Mean absolute difference between the reference's output and its input, in code values: how strong a filter the
    model is. What a guard may object to follows from it."""
    source: str = "drawn"
    """What the frames were: `drawn`, or the name of the user's file."""

    def as_json(self) -> dict[str, Any]:
        """Return what `engine.json` holds under `verification`."""
        return dataclasses.asdict(self)


def verify_engine(
    engine: Engine,
    model: Model,
    frames: Iterable[NDArray[np.uint8]],
    *,
    source: str = "drawn",
    references: Sequence[NDArray[np.uint8]] | None = None,
) -> Verification:
    """Run an engine and its model on the same frames and compare.

    Args:
        engine: made for 8 bits.
        model: what it was made from.
        frames: uint8 [N, C, H, W], at least one.
        source: what the frames are, for the record.
        references: of `reference_output` for each frame and its `drawn_inputs`, where they are known already.
    """
    squared = samples = differing = largest = count = change = 0
    for index, frame in enumerate(frames):
        inputs = drawn_inputs(model.card, frame)
        wanted = reference_output(model, frame, inputs) if references is None else references[index]
        change += int(np.abs(wanted.astype(np.int32) - frame).sum(dtype=np.int64))
        difference = np.abs(engine(frame, inputs=inputs).astype(np.int32) - wanted)
        squared += int((difference**2).sum(dtype=np.int64))
        differing += int(np.count_nonzero(difference))
        largest = max(largest, int(difference.max()))
        samples += difference.size
        count += len(frame)
    if not samples:
        raise ValueError("no frames to verify with")
    psnr = 10 * math.log10(_PEAK**2 * samples / squared) if squared else PSNR_OF_IDENTICAL_DB
    return Verification(
        psnr_db=round(min(psnr, PSNR_OF_IDENTICAL_DB), 3),
        max_abs_diff=largest,
        differing=differing / samples,
        frames=count,
        mean_change=round(change / samples, 3),
        source=source,
    )


def reference_output(
    model: Model, frame: NDArray[np.uint8], inputs: Mapping[str, ArrayLike] | None = None
) -> NDArray[np.uint8]:
    """Return what the model itself makes of a frame: PyTorch in float32 on the CPU, any size.

    Args:
        model: network, weights and card.
        frame: uint8 [N, C, H, W].
        inputs: what it reads besides, as `Engine.__call__` takes it.

    Returns:
        The same shape and type.
    """
    import torch

    from postfilter.models.sample_filter import SampleFilter
    from postfilter.runtime.further_inputs import pack
    from postfilter.runtime.padding import crop, pad_to, padded_size

    height, width = frame.shape[2:]
    wide, high = padded_size(width, height, multiple=model.card.size_multiple)
    packed = pack(frame, declared_inputs(model.card), inputs, peak=_PEAK)
    samples = pad_to(packed, width=wide, height=high)
    with torch.inference_mode():
        codes = SampleFilter(model.network, residual=model.card.residual).eval()(
            torch.from_numpy(samples).float(), torch.tensor(float(_PEAK))
        )
    return crop(codes.to(torch.uint8).numpy(), width=width, height=height).astype(np.uint8, copy=False)


def check_gate(verification: Verification, *, precision: str, name: str) -> None:
    """Refuse an engine that is not its model any more.

    Raises:
        VerificationError: the PSNR is below the precision's gate.
    """
    gate = GATES_DB[precision]
    if not verification.psnr_db >= gate:
        raise VerificationError(
            f"the {precision} engine of {name} does not compute what the model does: {verification.psnr_db:.1f} dB "
            f"against PyTorch on {verification.frames} frames, at least {gate:.0f} dB is required (largest difference "
            f"{verification.max_abs_diff} code values, {100 * verification.differing:.2f} % of the samples differ); "
            f"try {'--fp32' if precision != 'fp32' else 'another --backend'}"
        )
