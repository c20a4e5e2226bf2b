"""What a graph reads besides the picture, behind its channels: planes of values, such as the QP, and other pictures.

An engine that declares n of them takes `samples` of C + n channels and gives C. One tensor serves every backend, is cut
into pieces, padded and compared with the frame before as the picture is, and goes through a pixel-unshuffle with it. It
costs a copy of the picture. Values are written in the unit of samples, `maximum` as the largest code value: the graph
divides everything by its peak, whatever the bit depth, and a QP of 0..51 is exact in 8 bits, at 5 codes a step. Other
pictures, such as the frames before and after, are code values as the picture's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from postfilter.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from postfilter.runtime.backend import Samples

__all__ = ["BLOCK", "FurtherInput", "complaints_of", "pack"]

Kind = Literal["plane", "picture"]

BLOCK = 16
"""Side in samples of what one value of a map of blocks stands for: a macroblock."""


@dataclass(frozen=True, kw_only=True)
class FurtherInput:
    """One plane that a graph reads beside the picture."""

    name: str
    """What it is, for whoever feeds it: `qp` is the quantiser as H.264 and HEVC count it, `previous` and `next` are the
    frames around this one as `runtime.neighbours` makes them."""
    kind: Kind = "plane"
    """`plane` holds values, `picture` samples as the picture of one channel that is filtered, of the same type."""
    maximum: float = 1.0
    """Of a plane, the value that is written as the largest code value; those above it, and below 0, are taken to the
    nearest."""
    default: float | None = None
    """Of a plane, taken where nothing is given: the engine then runs blind. None where it cannot."""

    @property
    def optional(self) -> bool:
        """Whether the engine does without: a plane has its default then, and the picture stands for another one."""
        return self.kind == "picture" or self.default is not None


def pack(
    planes: Samples, declared: tuple[FurtherInput, ...], given: Mapping[str, ArrayLike] | None, *, peak: int
) -> Samples:
    """Return planes with the further inputs behind them, [N, C + n, H, W]; the very planes where none is declared.

    Args:
        planes: [N, C, H, W].
        declared: what the engine reads, in order.
        given: by name, of a plane a number, one for each block of 16x16 samples, [N, ceil(H / 16), ceil(W / 16)], or
            one for each sample, [N, H, W]; of a picture samples of the type of `planes`, [N, H, W].
        peak: the largest code value.

    Raises:
        InputError: one is missing that has no default, is not declared, or is of another shape or no number.
    """
    given = given or {}
    known = [each.name for each in declared]
    if unknown := sorted(given.keys() - set(known)):
        raise InputError(
            f"got the input {', '.join(unknown)}; this engine reads {', '.join(known) or 'the picture alone'}: leave "
            "out the others"
        )
    if not declared:
        return planes
    frames, channels, height, width = planes.shape
    packed = np.empty((frames, channels + len(declared), height, width), dtype=planes.dtype)
    packed[:, :channels] = planes
    for index, each in enumerate(declared, channels):
        value = given.get(each.name, planes[:, 0] if each.kind == "picture" else each.default)
        if value is None:
            raise InputError(
                f"this engine reads {each.name} beside the picture, and got none: give inputs={{{each.name!r}: …}}, a "
                f"number, or one for each block of {BLOCK}x{BLOCK} samples"
            )
        if each.kind == "picture":
            packed[:, index] = _checked(value, each.name, like=planes)
        else:
            _write(packed[:, index], each, value, peak)
    return packed


def complaints_of(inputs: Any) -> list[str]:
    """Return what is wrong with the `inputs` of a manifest, as JSON has them."""
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        return [f"inputs {inputs!r} is no list of objects"]
    found = []
    for each in inputs:
        name, maximum, default = each.get("name"), each.get("maximum"), each.get("default")
        if each.get("kind", "plane") not in get_args(Kind):
            found.append(f"the input {name!r} is of a kind {each['kind']!r} which this postfilter cannot feed")
        elif not isinstance(name, str) or not _positive(maximum) or not (default is None or _number(default)):
            found.append(f"the input {each!r} lacks a name, a positive maximum, or a default that is a number")
    if len({each.get("name") for each in inputs}) != len(inputs):
        found.append("two inputs have one name")
    return found


def _checked(value: ArrayLike, name: str, *, like: Samples) -> Samples:
    """Refuse what is no picture of the type and size of the one that is filtered."""
    samples = np.asarray(value)
    wanted = (like.shape[0], *like.shape[2:])
    if samples.dtype != like.dtype or samples.shape != wanted:
        raise InputError(
            f"got {name} as {samples.dtype} {samples.shape}; give a picture like the one that is filtered, "
            f"{like.dtype} {wanted}, or leave it out"
        )
    return samples


def _write(plane: Samples, declared: FurtherInput, value: ArrayLike, peak: int) -> None:
    """Write the code values of one input into its plane, [N, H, W]."""
    shape = frames, height, width = plane.shape
    values = np.asarray(value)
    blocks = (frames, -(-height // BLOCK), -(-width // BLOCK))
    if values.dtype.kind not in "iuf" or values.shape not in ((), blocks, shape):
        raise InputError(
            f"got {declared.name} as {values.dtype} {values.shape}; give a number, one for each block of "
            f"{BLOCK}x{BLOCK} samples {blocks}, or one for each sample {shape}"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"got a {declared.name} that is not finite; give numbers in 0..{declared.maximum:g}")
    codes = np.rint(values.clip(0, declared.maximum) * (peak / declared.maximum)).astype(plane.dtype)
    if codes.shape in ((), shape):
        plane[...] = codes
        return
    lines = codes.repeat(BLOCK, axis=2)[:, :, :width]
    whole = height // BLOCK
    # Split into blocks the plane is still the same memory, so that each line is written 16 times over at once.
    plane[:, : whole * BLOCK].reshape(frames, whole, BLOCK, width)[...] = lines[:, :whole, None]
    plane[:, whole * BLOCK :] = lines[:, whole:]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0
