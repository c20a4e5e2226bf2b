"""What is known of the values that convolutions read, from the graph alone.

Values that hold the samples as they are, in another order, are exact in eight bits, whatever was moved before the first
convolution: cut, shuffled, joined. Which sample is where tells how they go together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.quantize.edges import NORMALISED

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = [
    "Origin",
    "activation_covariance",
    "covariance_by_value",
    "network_inputs",
    "never_negative",
    "sample_covariance",
]

_NEIGHBOURS = 0.9
"""Correlation of neighbouring samples of a decoded picture; a little below the usual 0.95, as filters live on edges."""
_COLOURS = 0.9
"""Correlation of R', G' and B' at one place, and of a frame and those before and after it."""
_NOISE = 1e-3
_SQUARED_MEAN, _ALIKE = 0.3, 0.5
"""Behind a Relu: the squared mean, of the mean square, and how much neighbours of one channel have in common."""
_FLOAT = ("Cast", "Div")
"""Operators of the head that leave each value where it is."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the values of a tensor come from."""

    steps: tuple[int, int]
    """Samples from one position to the next, down and across."""
    places: tuple[tuple[int, int, int], ...]
    """Of each channel, that of the samples, and how many lines down and columns across it begins."""
    picture: int
    """Channels of the samples that are of the picture; those behind them are further inputs."""

    @property
    def pictures(self) -> set[int]:
        """Channels of the samples that are pictures: the one filtered, and the frames before and after it.

        Of those every sample is read. Of a plane of values, such as the QP, one sample a position is; where positions
        are one sample apart, nothing tells the two from each other, and all further inputs are taken for planes.
        """
        read = Counter(channel for channel, _, _ in self.places)
        whole = math.prod(self.steps)
        return {channel for channel in read if channel < self.picture or 1 < whole == read[channel]}

    @classmethod
    def of_samples(cls, channels: int, *, picture: int) -> Origin:
        """Return that of samples as they come."""
        return cls(steps=(1, 1), places=tuple((channel, 0, 0) for channel in range(channels)), picture=picture)


def network_inputs(graph: onnx.ModelProto) -> dict[str, Origin]:
    """Return the normalised samples, and every value that is made of them by moving values alone.

    Args:
        graph: of `export.to_graph`, rewritten or not.
    """
    from onnx import helper, numpy_helper

    body = graph.graph
    channels, picture = (each.type.tensor_type.shape.dim[1].dim_value for each in (body.input[0], body.output[0]))
    constants = {each.name: numpy_helper.to_array(each) for each in body.initializer if each.data_type == 7}
    known: dict[str, Origin | None] = {body.input[0].name: Origin.of_samples(channels, picture=picture)}
    found: dict[str, Origin] = {}
    for node in body.node:
        read = [known[name] for name in node.input if name in known]
        given = [constants[name] for name in node.input if name in constants]
        if not read:
            continue
        told = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        origin = None
        if all(read) and len(read) == len([name for name in node.input if name in known]):
            origin = _moved(node.op_type, [each for each in read if each is not None], given, told)
        known[node.output[0]] = origin
        if origin is not None and (node.output[0] == NORMALISED or any(name in found for name in node.input)):
            found[node.output[0]] = origin
    return found


def sample_covariance(origin: Origin, height: int, width: int) -> NDArray[np.float64]:
    """Return how the values go together that a kernel reads: in a picture the less, the further apart they are.

    A plane is one value over most of what a kernel sees, and has nothing to do with the picture.

    Args:
        origin: of what the kernel reads.
        height: of the kernel, as `width`.
        width: see `height`.

    Returns:
        [C H W, C H W], in the order of a flattened weight; in units of the samples' variance.
    """
    rows, columns = np.mgrid[:height, :width]
    taps = [
        (source, origin.steps[0] * row + y, origin.steps[1] * column + x)
        for source, y, x in origin.places
        for row, column in zip(rows.ravel(), columns.ravel(), strict=True)
    ]
    sources, *at = np.array(taps).T
    apart = sum(np.abs(each[:, None] - each) for each in at)
    alike, of_picture = sources[:, None] == sources, np.isin(sources, list(origin.pictures))
    in_picture = np.where(alike, 1.0, _COLOURS) * _NEIGHBOURS**apart
    both = of_picture[:, None] & of_picture
    covariance: NDArray[np.float64] = np.where(both, in_picture, alike.astype(float))
    return covariance + _NOISE * np.eye(len(taps))


def never_negative(graph: onnx.ModelProto) -> set[str]:
    """Return the values that a Relu makes."""
    return {node.output[0] for node in graph.graph.node if node.op_type == "Relu"}


def activation_covariance(channels: int, height: int, width: int) -> NDArray[np.float64]:
    """Return how the values go together that a kernel reads behind a Relu, as `sample_covariance` does for samples.

    None is negative, so their products are positive on average: half of a Gaussian has a squared mean of 0.32 of its
    mean square. Within a channel neighbours are more alike.
    """
    rows, columns = (each.ravel() for each in np.mgrid[:height, :width])
    apart = np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns)
    return _SQUARED_MEAN + (1 - _SQUARED_MEAN) * np.kron(np.eye(channels), _ALIKE**apart)


def covariance_by_value(graph: onnx.ModelProto) -> Callable[[str, Sequence[int]], NDArray[np.float64] | None]:
    """Return what tells of a value's name and the shape of a weight on it how what the kernel reads goes together.

    None is told of values of which nothing is known.
    """
    inputs, positive = network_inputs(graph), never_negative(graph)

    def covariance(value: str, shape: Sequence[int]) -> NDArray[np.float64] | None:
        _, channels, height, width = shape
        if value in inputs:
            return sample_covariance(inputs[value], height, width)
        return activation_covariance(channels, height, width) if value in positive else None

    return covariance


def _moved(operator: str, read: list[Origin], given: list[NDArray[Any]], told: dict[str, Any]) -> Origin | None:
    """Return where the values come from that an operator makes; None where it does not only move them."""
    first = read[0]
    if operator in _FLOAT and len(read) == 1:
        return first
    if operator == "Concat" and told["axis"] == 1 and len({each.steps for each in read}) == 1:
        return _with(first, tuple(place for each in read for place in each.places))
    if operator == "Gather" and told.get("axis", 0) == 1 and len(given) == 1:
        return _with(first, tuple(first.places[index] for index in given[0]))
    if operator == "SpaceToDepth":
        block, (down, across) = told["blocksize"], first.steps
        places = (
            (source, y + row * down, x + column * across)
            for row in range(block)
            for column in range(block)
            for source, y, x in first.places
        )
        return _with(first, tuple(places), steps=(block * down, block * across))
    return _sliced(first, given) if operator == "Slice" and len(given) >= 3 else None


def _sliced(origin: Origin, given: list[NDArray[Any]]) -> Origin | None:
    """Return where the values come from that a Slice keeps; None where it cuts off lines or columns."""
    starts, ends, axes = (each.tolist() for each in given[:3])
    strides = given[3].tolist() if len(given) > 3 else [1] * len(axes)
    places, steps = origin.places, list(origin.steps)
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        if axis == 1:
            places = places[start:end:stride]
        elif axis in (2, 3) and start == 0 and end >= 2**31 - 1:
            steps[axis - 2] *= stride
        else:
            return None
    return _with(origin, places, steps=(steps[0], steps[1]))


def _with(origin: Origin, places: tuple[tuple[int, int, int], ...], *, steps: tuple[int, int] | None = None) -> Origin:
    return Origin(steps=steps or origin.steps, places=places, picture=origin.picture)
