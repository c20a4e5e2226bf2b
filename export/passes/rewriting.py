"""Exact rewrites: another graph for the same function, which backends run faster. One file a pass; this runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.errors import UnknownNameError
from postfilter.export.passes.byte_shuffles import shuffle_codes, shuffle_samples
from postfilter.export.passes.output_blocks import output_blocks
from postfilter.export.passes.scale_folding import fold_input_scale, fold_output_scale
from postfilter.export.passes.space_to_depth import space_to_depth
from postfilter.export.passes.subpixel import subpixel_convolutions

if TYPE_CHECKING:
    import onnx

__all__ = ["PASSES", "Pass", "rewrite"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One exact rewrite, and where it is worth applying."""

    name: str
    apply: Callable[[onnx.ModelProto], list[str]]
    """Edits the graph it is given and returns one sentence for each place it changed."""
    backends: frozenset[str]
    """Where it is applied unless told otherwise."""
    measured: Mapping[str, str]
    """Backend -> why it is or is not applied there."""
    precisions: frozenset[str] | None = None
    """The precisions of the network that it goes with; None for all."""

    def reason(self, backend: str) -> str:
        """Return why the pass is or is not applied on a backend."""
        return self.measured.get(backend, "not measured there, so not applied")


_TORCH = "the backend runs the network itself, not the graph"
_EVERYWHERE = frozenset({"openvino", "onnxruntime", "tensorrt", "torch"})

# The figures: two cores with AVX-512, VNNI and BF16, OpenVINO 2026.4, ONNX Runtime 1.31, the fastest of interleaved
# runs with the pass against without. `export-engine MODEL --explain` measures them anew on any machine.
PASSES: dict[str, Pass] = {
    each.name: each
    for each in (
        Pass(
            name="subpixel",
            apply=subpixel_convolutions,
            backends=_EVERYWHERE,
            measured={
                "openvino": "1.3 to 1.9 times faster in fp32, 2.2 to 2.6 in bf16; 4.2 in int8 on fastarcnn-luma, as a "
                "transposed convolution is not quantized",
                "onnxruntime": "0.9 to 1.0 times as fast alone; with output-blocks, which needs it, fastarcnn-luma is "
                "1.05 to 1.2 times faster, fastarcnn as fast",
                "tensorrt": "not measured; done for what it avoids: int8 scales on the wrong axis of transposed "
                "convolutions pass unnoticed, and DLA takes none with padding",
                "torch": f"{_TORCH}; done so that the graph is the one of the other backends",
            },
        ),
        Pass(
            name="output-blocks",
            apply=output_blocks,
            backends=frozenset({"openvino", "onnxruntime"}),
            measured={
                "openvino": "fastarcnn-luma 1.15 to 1.22 times faster in fp32, bf16 and int8, arcnn-luma 1.04, "
                "arcnn 1.03 (fastarcnn has enough output channels)",
                "onnxruntime": "fastarcnn-luma 1.17 to 1.36 times faster, arcnn-luma 1.05, arcnn 1.02 to 1.06",
                "torch": _TORCH,
            },
        ),
        Pass(
            name="space-to-depth",
            apply=space_to_depth,
            backends=frozenset(),
            # In int8 there would be no recorded range for the shuffled input.
            precisions=frozenset({"fp32", "fp16", "bf16"}),
            measured={
                "openvino": "does not pay: fastarcnn-luma 0.98 to 1.00 times as fast, fastarcnn 0.99 in fp32, 1.02 to "
                "1.04 in bf16, 0.97 to 1.00 in int8; the layer gains, the shuffle takes it back",
                "onnxruntime": "does not pay: fastarcnn-luma and fastarcnn 0.95 to 1.0 times as fast",
                "torch": _TORCH,
            },
        ),
        Pass(
            name="byte-samples",
            apply=shuffle_samples,
            backends=frozenset({"openvino"}),
            measured={
                "openvino": "at 1080p, networks of 2 to 3 kMAC/px between shuffles of 2 or 4: 1.0 to 1.05 times faster "
                "in bf16 and int8 by itself; byte-codes needs it",
                "onnxruntime": "cannot be done: its shuffles do not take 16-bit samples",
                "torch": _TORCH,
            },
        ),
        Pass(
            name="byte-codes",
            apply=shuffle_codes,
            backends=frozenset({"openvino"}),
            measured={
                "openvino": "1.16 times faster in int8 at 2.4 kMAC/px and shuffles of 4, 1.05 to 1.07 at shuffles of "
                "2; in bf16 as fast",
                "onnxruntime": "cannot be done: its shuffles do not take 16-bit samples",
                "torch": _TORCH,
            },
        ),
        Pass(
            name="input-scale",
            apply=fold_input_scale,
            backends=frozenset(),
            precisions=frozenset({"fp32"}),
            measured={
                "openvino": "does not pay: 0.98 to 1.02 times as fast; the cast, which the residual needs anyway, "
                "includes the division",
                "onnxruntime": "does not pay: 0.98 to 1.00 times as fast",
                "torch": _TORCH,
            },
        ),
        Pass(
            name="output-scale",
            apply=fold_output_scale,
            backends=frozenset(),
            precisions=frozenset({"fp32"}),
            measured={
                "openvino": "does not pay: 1.00 times as fast; the convolution includes the multiplication already",
                "onnxruntime": "does not pay: 1.00 times as fast",
                "torch": _TORCH,
            },
        ),
    )
}
"""In the order in which they are applied."""


def rewrite(
    graph: onnx.ModelProto, *, backend: str = "openvino", only: Collection[str] | None = None
) -> tuple[onnx.ModelProto, list[str]]:
    """Return the graph after the passes, and what was done; the graph given is left as it is.

    Exact means that each output sample is the sum of the same products, and of zeros. Backends add them in another
    order, so the last bits of a float may differ.

    Args:
        graph: what `to_graph` makes; its network still in fp32 or already in fp16.
        backend: a key of `runtime.BACKENDS`: the passes that were measured to pay there are applied.
        only: names of passes to apply instead, in the order of `PASSES`; none where empty.

    Raises:
        UnknownNameError: no pass of such a name.
    """
    import onnx

    for name in only or ():
        if name not in PASSES:
            raise UnknownNameError("rewrite", name, tuple(PASSES))
    chosen = [each for each in PASSES.values() if (backend in each.backends if only is None else each.name in only)]
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(graph)
    done = [sentence for each in chosen for sentence in each.apply(rewritten)]
    if done:
        # Shapes noted for values that exist no more would be wrong; every backend infers them.
        del rewritten.graph.value_info[:]
        onnx.checker.check_model(rewritten, full_check=True)
    return rewritten, done
