"""Calibration: the int8 ranges with which the network's correction stays nearest to the fp32 network's.

The usual criteria (largest value, entropy, least rounding error of each value by itself) do not ask what comes out of
the filter. A post-filter's correction is a few code values on top of the picture: it is lost in steps that are laid
over rare large values deep in the network, which hardly change the picture when they are clipped. So the ranges are
chosen by what they do to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from postfilter.quantize.edges import convolutions
from postfilter.quantize.equalisation import balanced_values, equalised, scales_of
from postfilter.quantize.int8 import padding
from postfilter.quantize.network_input import network_inputs
from postfilter.quantize.ranges import Ranges
from postfilter.quantize.trial import Trial, largest_by_channel, observe

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Samples: TypeAlias = NDArray[np.uint8]

__all__ = ["calibrate", "calibration_crops"]

_CROPS = 32
_CROP_SIDE = 160
"""Samples; several times any receptive field, so that most of a crop is not its border."""

_START = 0.64
"""Of the largest value: the range that the search starts from."""
_SHARES = (1.0, 0.8, 0.64, 0.5, 0.4, 0.32, 0.25)
"""Of the largest value: what is tried first of each range."""
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far channels are made equally large; see `equalisation`."""
_FINER = (1.12, 0.89), (1.06, 0.94)
"""Then, in rounds, a little more and less than the best so far."""


def calibrate(
    graph: onnx.ModelProto,
    crops: Samples,
    *,
    model: str,
    weights_sha256: str,
    source: str,
    frames: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Return the ranges with which the int8 graph's correction is nearest to the fp32 graph's, in the mean square.

    One end of one range after another is tried, in three rounds of ever finer trials. ONNX Runtime's float arithmetic
    between the roundings is the reference that every backend is held to. It takes seconds to a minute or two.

    Args:
        graph: fp32, of `export.to_graph`, any size.
        crops: uint8 [K, C, H, W] of decoded pictures, see `calibration_crops`.
        model: what the ranges will say they are of, as all that follow.
        weights_sha256: as above.
        source: as above.
        frames: as above.
        on_progress: called as `on_progress(trials done, trials in all)`.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
    """
    tell = on_progress or (lambda done, total: None)
    scales = _best_scales(graph, crops)
    graph = equalised(graph, scales)
    extremes, wanted = observe(graph, crops)
    trial = Trial(graph, crops, wanted)
    lopsided = _read_without_padding(graph)
    widest = _widest(extremes, lopsided)
    spans = _first_spans(widest, lopsided)
    least = trial.error({value: span.step_and_centre() for value, span in spans.items()})
    plan = list(_plan(spans, lopsided))
    for done, (value, end, share, first) in enumerate(plan):
        base = widest[value] if first else spans[value]
        tried = replace(spans[value], **{end: share * getattr(base, end)})
        tried = tried if value in lopsided else tried.mirrored()
        error = trial.error({each: span.step_and_centre() for each, span in (spans | {value: tried}).items()})
        if error < least:
            least, spans = error, spans | {value: tried}
        tell(done + 1, len(plan))
    final = {value: span.step_and_centre() for value, span in spans.items()}
    return Ranges(
        model=model,
        weights_sha256=weights_sha256,
        steps={value: step for value, (step, _) in final.items()},
        centres={value: centre for value, (_, centre) in final.items() if centre},
        scales=scales,
        source=source,
        frames=frames,
        fidelity_db=round(float(-10 * np.log10(max(least, 1e-12))), 2),
    )


def _best_scales(graph: onnx.ModelProto, crops: Samples) -> dict[str, list[float]]:
    """Return the scales of channels with which the first ranges lose least; none where that is best."""
    largest = largest_by_channel(graph, crops, balanced_values(graph))
    best: dict[str, list[float]] = {}
    least = np.inf
    for strength in _STRENGTHS if largest else ():
        scales = scales_of(largest, strength=strength) if strength else {}
        changed = equalised(graph, scales)
        extremes, wanted = observe(changed, crops)
        lopsided = _read_without_padding(changed)
        spans = _first_spans(_widest(extremes, lopsided), lopsided)
        error = Trial(changed, crops, wanted).error({value: each.step_and_centre() for value, each in spans.items()})
        if error < least:
            least, best = error, scales
    return best


def calibration_crops(frames: Sequence[Samples], *, multiple: int = 2, further: int = 0, seed: int = 0) -> Samples:
    """Return crops spread over frames, and one of black and white, which every engine has to show as they are.

    Args:
        frames: uint8 [1, C, H, W] of any sizes; at least one. A frame smaller than a crop is mirrored outward.
        multiple: height and width of the crops are multiples of it.
        further: of the C channels, the last so many are planes of values; see `runtime.further_inputs`.
        seed: decides where the crops are taken.

    Returns:
        uint8 [K, C, S, S], where S is 160 or the next smaller multiple.
    """
    random = np.random.default_rng(seed)
    side = _CROP_SIDE // multiple * multiple
    crops = []
    for index in range(max(_CROPS, len(frames))):
        frame = frames[index % len(frames)]
        missing = [(0, max(0, side - length)) for length in frame.shape[2:]]
        frame = np.pad(frame, [(0, 0), (0, 0), *missing], mode="symmetric")
        top, left = (int(random.integers(0, length - side + 1)) for length in frame.shape[2:])
        crops.append(frame[:, :, top : top + side, left : left + side])
    return np.ascontiguousarray(np.concatenate([*crops, _black_and_white(crops[0], further)]))


@dataclass(frozen=True, kw_only=True)
class _Span:
    """What int8 is laid over; 0 lies within."""

    low: float
    high: float

    def mirrored(self) -> _Span:
        return _Span(low=-self.high, high=self.high)

    def step_and_centre(self) -> tuple[float, float]:
        """The centre is a whole number of steps, so that 0, which convolutions pad with, stays exact."""
        step = float(np.float32((self.high - self.low) / 254))
        return step, float(np.float32(round((self.high + self.low) / 2 / step) * step))


def _widest(extremes: dict[str, tuple[float, float]], lopsided: set[str]) -> dict[str, _Span]:
    """Spans of all that was observed; mirrored but where they need not be."""
    return {
        value: _Span(low=low, high=high) if value in lopsided else _Span(low=-max(-low, high), high=max(-low, high))
        for value, (low, high) in extremes.items()
    }


def _first_spans(widest: dict[str, _Span], lopsided: set[str]) -> dict[str, _Span]:
    """The spans that the search starts from."""
    spans = {value: replace(span, high=_START * span.high) for value, span in widest.items()}
    return {value: span if value in lopsided else span.mirrored() for value, span in spans.items()}


def _plan(spans: dict[str, _Span], lopsided: set[str]) -> Iterator[tuple[str, str, float, bool]]:
    """Every trial: value, which end of its span, by how much, and whether of the widest span or of the best so far."""
    for shares, first in ((_SHARES, True), *((each, False) for each in _FINER)):
        for value in spans:
            for end in ("high", "low") if value in lopsided else ("high",):
                for share in shares:
                    yield value, end, share, first


def _read_without_padding(graph: onnx.ModelProto) -> set[str]:
    """Values whose convolutions all go without padding: these can be centred at no cost."""
    layers = set(convolutions(graph))
    readers = [node for node in graph.graph.node if node.name in layers]
    padded = {node.input[0] for node in readers if any(padding(node))}
    return {node.input[0] for node in readers} - padded - network_inputs(graph).keys()


def _black_and_white(like: Samples, further: int) -> Samples:
    """Flat black and white, of full and of limited range, meeting at sharp edges; further inputs as they are."""
    levels = np.array([0, 255, 16, 235], np.uint8).repeat(-(-like.shape[3] // 4))[: like.shape[3]]
    made = like.copy()
    made[:, : like.shape[1] - further] = levels
    return made
