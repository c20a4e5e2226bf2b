"""Exact rewrites: another graph for the same function, which backends run faster. One file a pass; this runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from postfilter.export.subpixel import subpixel_convolutions

if TYPE_CHECKING:
    import onnx

__all__ = ["PASSES", "rewrite"]

PASSES: tuple[Callable[[onnx.ModelProto], list[str]], ...] = (subpixel_convolutions,)
"""In order. A pass edits the graph it is given and returns one sentence for each place it changed."""


def rewrite(graph: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Return the graph after every pass that applies, and what was done; the graph given is left as it is.

    Exact means that each output sample is the sum of the same products. Backends add them in another order, so the last
    bits of a float may differ.
    """
    import onnx

    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(graph)
    done = [sentence for each in PASSES for sentence in each(rewritten)]
    if done:
        # Shapes noted for values that exist no more would be wrong; every backend infers them.
        del rewritten.graph.value_info[:]
        onnx.checker.check_model(rewritten, full_check=True)
    return rewritten, done
