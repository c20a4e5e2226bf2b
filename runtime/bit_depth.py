"""One graph for every bit depth: an exact edit of its sample type and its peak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import ArtefactError, InputError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

__all__ = ["PEAK", "graph_bytes", "sample_type", "with_bit_depth"]

PEAK = "peak"
"""Name of the graph's one float32 scalar that holds the largest code value; it normalises, scales back and clips."""


def sample_type(bit_depth: int) -> str:
    """Return the element type of samples of `bit_depth` bits: `uint8` for 8, `uint16` for 9 to 16.

    Raises:
        InputError: fewer than 8 or more than 16 bits.
    """
    if bit_depth not in range(8, 17):
        raise InputError(f"a bit depth of {bit_depth} cannot be filtered; 8 to 16 bits can")
    return "uint8" if bit_depth == 8 else "uint16"


def with_bit_depth(graph: onnx.ModelProto, bit_depth: int) -> onnx.ModelProto:
    """Return the graph made for samples of `bit_depth` bits; the one given is left as it is.

    1. The graph's input and output take the sample type of that depth.
    2. The initializer `peak` becomes 2 ** bit_depth - 1.
    3. The cast that makes the output, perhaps before a last depth-to-space, gets the same type. (Casts from the input
       follow its type by themselves.)
    4. Above 8 bits, where the samples go into int8 as uint8, a node more stands between (`_part_from_cast`).

    Between the casts nothing changes: the network sees code values divided by the peak, whatever the depth.

    Raises:
        InputError: a bit depth outside 8 to 16.
        ArtefactError: a graph that was not made in this way.
    """
    import onnx

    kind = onnx.TensorProto.UINT8 if sample_type(bit_depth) == "uint8" else onnx.TensorProto.UINT16
    edited = onnx.ModelProto()
    edited.CopyFrom(graph)
    body = edited.graph
    peaks = [each for each in body.initializer if each.name == PEAK]
    if len(peaks) != 1 or len(body.output) != 1 or not body.input:
        raise ArtefactError(
            f"the graph cannot be made for {bit_depth} bits: it needs one initializer {PEAK!r} (it has {len(peaks)}), "
            "an input and one output; make the engine again with export-engine"
        )
    peak = onnx.helper.make_tensor(PEAK, onnx.TensorProto.FLOAT, peaks[0].dims, [float(2**bit_depth - 1)])
    peaks[0].CopyFrom(peak)

    for value in (body.input[0], body.output[0]):
        value.type.tensor_type.elem_type = kind
    last = [node for node in body.node if body.output[0].name in node.output]
    if last and last[0].op_type == "DepthToSpace":
        last = [node for node in body.node if last[0].input[0] in node.output]
    if len(last) != 1 or last[0].op_type != "Cast":
        raise ArtefactError("the graph does not end in a Cast to the sample type; make it again with export-engine")
    for attribute in last[0].attribute:
        if attribute.name == "to":
            attribute.i = kind
    if bit_depth > 8:
        _part_from_cast(body)
    return edited


def _part_from_cast(body: onnx.GraphProto) -> None:
    """Put a maximum with 0, which changes no sample, between a cast of the samples and the steps of int8 behind it.

    OpenVINO makes one operation of the cast, the division and the rounding to bytes. That operation takes bytes, but no
    uint16: "CPU plugin does not support u16 for use with oneDNN" (2026.4).
    """
    import onnx

    makers = {name: node for node in body.node for name in node.output}
    quantized = [makers.get(node.input[0]) for node in body.node if node.op_type == "QuantizeLinear"]
    divided = {node.output[0]: node for node in quantized if node is not None and node.op_type == "Div"}
    for division in divided.values():
        cast = makers.get(division.input[0])
        if cast is None or cast.op_type != "Cast":
            continue
        codes = cast.output[0]
        # The zero has a name of its own, as the graph may hold one of another type.
        zero, result = f"{codes}.least", f"{codes}.apart"
        body.initializer.append(onnx.helper.make_tensor(zero, onnx.TensorProto.FLOAT, [], [0.0]))
        apart = onnx.helper.make_node("Max", [codes, zero], [result], name=f"{cast.name}.apart")
        division.input[0] = result
        body.node.insert(list(body.node).index(division), apart)


def graph_bytes(path: Path, *, made_for: int, bit_depth: int) -> bytes:
    """Read the graph at `path`, made for `made_for` bits, as the bytes of its twin for `bit_depth`.

    Raises:
        ArtefactError: it is no readable graph, or not made in a way that can be edited.
        MissingDependencyError: the edit needs onnx, which is not installed.
    """
    if bit_depth == made_for:
        return path.read_bytes()
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError("onnx", f"filtering {bit_depth} bits", None, error) from error
    try:
        graph = onnx.load(path)
    except DecodeError as error:
        raise ArtefactError(f"{path} is no readable ONNX file ({error}); make the engine again") from error
    return with_bit_depth(graph, bit_depth).SerializeToString()
