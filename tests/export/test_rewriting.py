"""The passes on whole models: the same filter, at every size, depth and precision that the graph knows."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from postfilter import models
from postfilter.errors import UnknownNameError
from postfilter.export import rewrite, to_graph
from postfilter.export.graph import graph_bytes
from postfilter.export.passes.output_blocks import best_block
from postfilter.export.passes.rewriting import PASSES
from postfilter.quantize import split_nodes, to_fp16
from postfilter.runtime import BACKENDS, with_bit_depth
from postfilter.runtime.macs import node_macs

# Which passes change which models.
CHANGED = {
    "arcnn": {"output-blocks", "input-scale", "output-scale"},
    "arcnn-luma": {"output-blocks", "input-scale", "output-scale"},
    "fastarcnn": {"subpixel", "space-to-depth", "input-scale"},
    "fastarcnn-luma": {"subpixel", "space-to-depth", "input-scale"},
}
for _name in models.names():
    if _settings := models.card(_name).settings:
        # A last layer of few channels is made in blocks.
        _blocks = {"output-blocks"} if best_block((3, 3), _settings["unshuffle"] ** 2) > 1 else set()
        CHANGED[_name] = {"byte-samples", "output-scale", *_blocks}
_CASES = [(name, shipped) for name in models.names() for shipped in (True, False)]
_CASES = [(name, shipped) for name, shipped in _CASES if not shipped or name in models.names(shipped=True)]


@pytest.fixture(scope="module")
def graph_of(weights_of) -> Callable[..., onnx.ModelProto]:
    """`graph_of("arcnn", shipped=True)` -> its graph before any pass, with trained or with random weights."""
    made: dict[tuple[str, bool], onnx.ModelProto] = {}

    def make(name: str, *, shipped: bool = False) -> onnx.ModelProto:
        if (name, shipped) not in made:
            made[name, shipped] = to_graph(models.load(name, weights=None if shipped else weights_of(name)))
        return made[name, shipped]

    return make


def _run(graph: onnx.ModelProto, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph_bytes(graph), providers=["CPUExecutionProvider"])
    return session.run(None, {"samples": samples})[0]


def _samples(channels: int, height: int, width: int, *, peak: int = 255) -> np.ndarray:
    kind = np.uint8 if peak == 255 else np.uint16
    return np.random.default_rng(5).integers(0, peak + 1, (1, channels, height, width)).astype(kind)


def _assert_same_filter(graph: onnx.ModelProto, other: onnx.ModelProto, samples: np.ndarray) -> None:
    difference = np.abs(_run(graph, samples).astype(int) - _run(other, samples))
    # Products are added in another order; only sums close to a half may be rounded apart.
    assert difference.max() <= 1
    assert np.mean(difference) < 1e-3


@pytest.mark.parametrize(
    ("name", "shipped"), _CASES, ids=[f"{name}-{'trained' if shipped else 'random'}" for name, shipped in _CASES]
)
def test_every_pass_and_all_together_leave_the_filter_as_it_is(graph_of, name, shipped):
    graph, card = graph_of(name, shipped=shipped), models.card(name)
    multiple = card.size_multiple
    for only in ([each] for each in PASSES):
        changed, done = rewrite(graph, only=only)
        assert bool(done) == (only[0] in CHANGED[name])
        if done:
            _assert_same_filter(changed, graph, _samples(card.input_channels, 17 * multiple, 23 * multiple))
    together, done = rewrite(graph, only=list(PASSES))
    assert len(done) >= 3
    for height, width in ((24, 32), (17, 23), (1, 1), (2, 5)):
        samples = _samples(card.input_channels, height * multiple, width * multiple)
        _assert_same_filter(together, graph, samples)


@pytest.mark.parametrize("name", ["arcnn-luma", "fastarcnn", "fastarcnn-luma"])
def test_another_bit_depth_is_still_an_edit_of_the_graph(graph_of, name):
    graph, card = graph_of(name), models.card(name)
    everything, _ = rewrite(graph, only=list(PASSES))
    samples = _samples(card.input_channels, 22, 38, peak=1023)
    got, expected = (_run(with_bit_depth(each, 10), samples).astype(int) for each in (everything, graph))
    assert expected.max() > 255
    assert np.abs(got - expected).max() <= 1
    assert np.mean(got != expected) < 5e-3


@pytest.mark.parametrize("name", ["arcnn-luma", "fastarcnn-luma"])
def test_fp16_takes_what_the_defaults_make(graph_of, name):
    graph = graph_of(name)
    rewritten, _ = rewrite(graph)
    samples = _samples(1, 26, 34)
    difference = np.abs(_run(to_fp16(rewritten), samples).astype(int) - _run(to_fp16(graph), samples))
    assert difference.max() <= 1
    assert np.mean(difference) < 0.02


def test_what_backends_get_is_what_was_measured_to_pay(graph_of):
    graph = graph_of("fastarcnn-luma")
    assert len(rewrite(graph)[1]) == len(rewrite(graph, backend="onnxruntime")[1]) == 2
    assert len(rewrite(graph, backend="tensorrt")[1]) == 1
    assert rewrite(graph, only=[])[1] == []
    for each, backend in itertools.product(PASSES.values(), BACKENDS):
        assert each.backends <= set(BACKENDS)
        if backend in each.backends:
            assert backend in each.measured


def test_an_unknown_pass_is_refused_and_the_known_are_told():
    with pytest.raises(UnknownNameError, match="output-blocks"):
        rewrite(onnx.ModelProto(), only=["winograd"])


def test_head_and_tail_stay_apart_and_multiplications_are_counted(graph_of):
    for name in models.names():
        graph, _ = rewrite(graph_of(name))
        head, body, tail = split_nodes(graph)
        moves = {"Concat", "DepthToSpace", "Gather", "Slice", "SpaceToDepth"}
        assert sorted({node.op_type for node in head} - moves) == ["Cast", "Div"]
        assert {node.op_type for node in tail} - moves == {"Mul", "Add", "Round", "Clip", "Cast"}
        if not models.card(name).inputs:
            assert moves.isdisjoint(node.op_type for node in [*head, *tail])
        assert sum(node.op_type == "Conv" for node in body) == len(
            node_macs(graph, (1, models.card(name).input_channels, 32, 48))
        )


@pytest.mark.parametrize("name", ["arcnn-luma", "fastarcnn-luma"])
def test_openvino_runs_the_same_frame_whole_and_in_part(graph_of, name):
    """A block begins at another sample where a piece begins elsewhere: what it makes must not depend on that."""
    openvino = pytest.importorskip("openvino")
    graph, _ = rewrite(graph_of(name))
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(graph_bytes(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    samples = _samples(1, 60, 72)
    whole = compiled(samples)[0]
    halo = models.card(name).halo + models.card(name).halo % 2
    part = compiled(samples[:, :, 2:, 6:])[0]
    difference = np.abs(whole[:, :, 2 + halo :, 6 + halo :].astype(int) - part[:, :, halo:, halo:])
    assert difference.max() <= 1
    assert np.mean(difference) < 1e-3
