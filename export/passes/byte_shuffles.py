"""The passes that rearrange samples as bytes: before they become float, and after they are whole numbers again.

A space-to-depth, a slice or a concatenation only moves values, so it gives the same before a cast and a division as
behind them, and a depth-to-space the same behind addition, rounding and clipping as before them. As bytes a fourth is
moved, and the arithmetic of the tail works in the layout that the last convolution writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.export.passes.graph_edit import attributes, constant, readers
from postfilter.quantize import HEAD, NORMALISED, TAIL

if TYPE_CHECKING:
    import onnx

__all__ = ["shuffle_codes", "shuffle_samples"]

_MOVES = ("Concat", "Gather", "Slice", "SpaceToDepth")
"""Operators that move values; what else they read has to be constant."""
_BY_VALUE = ("Mul", "Add", "Round", "Clip", "Cast")
"""The tail's operators, each of which makes one value of one place."""


def shuffle_samples(graph: onnx.ModelProto) -> list[str]:
    """Move what only rearranges the normalised samples to before the cast; return a sentence.

    Done where all of this holds:

    1. what reads the normalised samples are `_MOVES`, joined into one value that the network reads;
    2. the samples become float and are divided by one number, in two nodes of the head.
    """
    body = graph.graph
    makers = {name: node for node in body.node for name in node.output}
    division = makers.get(NORMALISED)
    cast = None if division is None else makers.get(division.input[0])
    if division is None or cast is None or (cast.op_type, division.op_type) != ("Cast", "Div"):
        return []
    moved, values = _moves_of(body, NORMALISED)
    # A node is known by what it makes: protobuf may hand out another object for it each time.
    inside = {node.output[0] for node in moved}
    leaving = {value for value in values if any(node.output[0] not in inside for node in readers(body, value))}
    if not moved or len(leaving) != 1:
        return []
    (result,) = leaving
    samples, away = cast.input[0], {*inside, division.output[0], cast.output[0]}
    kept = [node for node in body.node if node.output[0] not in away]
    for node in moved:
        node.name = f"{HEAD}{node.name}"
        node.input[:] = [samples if name == NORMALISED else name for name in node.input]
    for node in kept:
        node.input[:] = [NORMALISED if name == result else name for name in node.input]
    shuffled = type(cast).FromString(cast.SerializeToString())
    shuffled.name, shuffled.input[0], shuffled.output[0] = f"{HEAD}cast.shuffled", result, f"{cast.output[0]}.shuffled"
    division.input[0] = shuffled.output[0]
    # The samples are cast as well, for the addition, where there is one: of further inputs there the picture alone.
    still = readers(body, cast.output[0])
    if [node.op_type for node in still] == ["Slice"]:
        (picture,) = still
        kept.remove(picture)
        cast.name, cast.output[0] = f"{TAIL}codes", picture.output[0]
        cast.input[0] = picture.output[0] = f"{picture.output[0]}.samples"
        picture.input[0] = samples
        kept = [picture, cast, *kept]
    elif still:
        kept = [cast, *kept]
    _reorder(body, [*moved, shuffled, division, *kept])
    return [f"{', '.join(node.op_type for node in moved)} of the normalised samples -> of the samples as they come"]


def shuffle_codes(graph: onnx.ModelProto) -> list[str]:
    """Move the depth-to-space before the tail behind it, and add the samples in blocks; return a sentence.

    Done where all of this holds:

    1. what the tail scales is made by a DepthToSpace of one channel, which nothing else reads;
    2. the tail is scaling, addition of the samples' one channel, rounding, clipping and the cast;
    3. the samples lie there in such blocks already, as `shuffle_samples` leaves them: else a shuffle would be saved and
       another one paid.
    """
    from onnx import TensorProto, helper

    body = graph.graph
    makers = {name: node for node in body.node for name in node.output}
    # What of the tail begins with the scaling; before it stands the picture that it adds.
    chain = [node for node in body.node if node.name.startswith(TAIL)]
    chain = chain[next((k for k, node in enumerate(chain) if node.op_type == _BY_VALUE[0]), len(chain)) :]
    chain = [node for node in chain if node.op_type in _BY_VALUE]
    shuffle = makers.get(chain[0].input[0]) if chain else None
    if tuple(node.op_type for node in chain) != _BY_VALUE or shuffle is None or shuffle.op_type != "DepthToSpace":
        return []
    one_channel = body.output[0].type.tensor_type.shape.dim[1].dim_value == 1
    blocks = _blocks_of_picture(body, attributes(shuffle)["blocksize"])
    if not one_channel or blocks is None or len(readers(body, shuffle.output[0])) != 1:
        return []
    scaling, adding, *_, last = chain
    codes = helper.make_node("Cast", [blocks], [f"{blocks}.codes"], name=f"{TAIL}codes", to=TensorProto.FLOAT)
    scaling.input[0] = shuffle.input[0]
    adding.input[:] = [codes.output[0] if name != scaling.output[0] else name for name in adding.input]
    filtered = last.output[0]
    last.output[0] = f"{filtered}.blocks"
    shuffle.name, shuffle.input[0], shuffle.output[0] = f"{TAIL}shuffle", last.output[0], filtered
    read = {name for node in [*chain, shuffle] for name in node.input}
    rest = [node for node in body.node if not node.name.startswith(TAIL)]
    read |= {name for node in rest for name in node.input} | {blocks}
    _reorder(body, [*(node for node in rest if node.output[0] in read), codes, *chain, shuffle])
    return ["depth-to-space of the correction -> of the filtered samples"]


def _blocks_of_picture(body: onnx.GraphProto, block: int) -> str | None:
    """Return the value that holds the samples' first channel in blocks of this side, None where there is none."""
    samples = body.input[0]
    alone = samples.type.tensor_type.shape.dim[1].dim_value == 1
    first = [samples.name] if alone else []
    for node in body.node:
        if node.op_type == "Slice" and node.input[0] == samples.name:
            told = [constant(body, name) for name in node.input[1:4]]
            if [None if each is None else each.tolist() for each in told] == [[0], [1], [1]]:
                first.append(node.output[0])
        if node.op_type == "SpaceToDepth" and node.input[0] in first and attributes(node)["blocksize"] == block:
            return str(node.output[0])
    return None


def _moves_of(body: onnx.GraphProto, start: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """Return the nodes, in order, that do nothing but move values of `start`, and what they make, `start` included."""
    constants = {each.name for each in body.initializer}
    values, moved = [start], []
    for node in body.node:
        moves = node.op_type in _MOVES and any(name in values for name in node.input)
        if moves and all(name in values or name in constants for name in node.input):
            moved.append(node)
            values += node.output
    return moved, values


def _reorder(body: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Let `nodes` be those of the graph, and drop the constants that none of them reads any more."""
    unread = {name for node in body.node for name in node.input} - {name for node in nodes for name in node.input}
    constants = [each for each in body.initializer if each.name not in unread]
    copied = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del body.node[:], body.initializer[:]
    body.node.extend(copied)
    body.initializer.extend(constants)
