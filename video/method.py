"""An engine as a filter under evaluation: told of each frame what the frame path would tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from postfilter.quality import Method
from postfilter.runtime.neighbours import in_threes, neighbours_of, reads_neighbours
from postfilter.runtime.stream_item import StreamItem

if TYPE_CHECKING:
    from postfilter.runtime import Engine
    from postfilter.runtime.backend import Samples

    Shown = tuple[Samples, Mapping[str, Any]]

__all__ = ["method_of"]


def method_of(engine: Engine, name: str, *, blind: bool = False) -> Method:
    """Return an engine that works on luma as `quality.evaluate_methods` takes it.

    Args:
        engine: loaded for 8 bits.
        name: what it is called in the rows.
        blind: whether it is not told the QP although it reads it. Neighbouring frames are given in any case.
    """
    reads_qp = not blind and any(each.name == "qp" for each in engine.inputs)
    around = _surrounded if reads_neighbours(engine) else None
    return Method(name=name, filter=engine, reads_qp=reads_qp, around=around, item=_item)


def _item(planes: Samples, inputs: Mapping[str, Any]) -> StreamItem:
    return StreamItem(planes=planes, inputs=inputs)


def _surrounded(items: Iterable[Shown]) -> Iterator[Shown]:
    for inputs, planes, before, after in in_threes((inputs, planes) for planes, inputs in items):
        yield planes, {**inputs, **neighbours_of(planes, before, after)}
