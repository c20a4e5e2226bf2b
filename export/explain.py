"""What each exact rewrite does to a model and what it buys on this machine, measured."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import InputError
from postfilter.export.graph import BIT_DEPTH, graph_bytes, to_graph
from postfilter.export.passes.rewriting import PASSES, Pass, rewrite
from postfilter.export.precision import check_precision, lowered
from postfilter.quantize import recorded_ranges
from postfilter.runtime import EngineManifest, load_engine, write_manifest
from postfilter.runtime.manifest import GRAPH, sha256_of_file
from postfilter.runtime.measure import sample_frames

if TYPE_CHECKING:
    import onnx

    from postfilter.export.precision import Precision
    from postfilter.models import Model
    from postfilter.quantize import Ranges
    from postfilter.runtime import Engine

__all__ = ["ALL", "ExplainedPass", "explain_rewrites"]

ALL = "all applied"
"""Name of the last row: every pass that is applied, against none."""

_PAYS = 1.01
"""Times that a pass must be faster to have paid; less is the noise of a quiet machine."""
_ROUNDS = 5
"""At least so many frames is each graph timed on."""
_SECONDS = 2.0
_SIZE = (720, 480)
"""(width, height) for an engine that takes any."""


@dataclass(frozen=True, kw_only=True)
class ExplainedPass:
    """One row of the table."""

    name: str
    """Of the pass; `ALL` for the last row."""
    applied: bool
    """Whether an engine for this backend gets it unless told otherwise."""
    what: tuple[str, ...]
    """A sentence for each place it changed; none where the model has no such place."""
    ms_before: float | None
    """Median time of a frame without it, in milliseconds: after the passes before it where it is applied, after all
    that are applied where it is not. None where there is nothing to measure."""
    ms_after: float | None
    """The same with it."""
    speedup: float | None
    """The one divided by the other."""
    max_abs_diff: int | None
    """The largest difference that it makes to a frame, in code values."""
    pays: bool | None
    """Whether it was faster in this measurement, by more than 1 %."""
    kept: str
    """Why it is or is not applied, as measured when this was decided."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes; `name` is called `pass` there."""
        fields = asdict(self)
        return {"pass": fields.pop("name"), **fields, "what": list(self.what)}


def explain_rewrites(
    model: Model,
    *,
    backend: str = "openvino",
    precision: Precision = "fp32",
    size: tuple[int, int] | None = None,
    ranges: Ranges | None = None,
    device: str | None = None,
    threads: int | None = None,
    seconds: float | None = None,
    on_step: Callable[[str], None] | None = None,
) -> list[ExplainedPass]:
    """Measure a model's graph without any pass, then with each that is applied added in turn, then each other on top.

    All graphs are timed in turn, a few frames each, so that what else the machine does falls on all of them alike.

    Args:
        model: network, weights and card.
        backend: `openvino` or `onnxruntime`.
        precision: of the engines.
        size: (width, height); 720x480 where None.
        ranges: for int8; those recorded with the weights where None.
        device: the backend's name of a device; its default where None.
        threads: CPU threads; every core where None.
        seconds: how long each graph is timed, 2 where None; five frames in any case.
        on_step: told in a few words what begins.

    Returns:
        A row for each pass of `PASSES`, in its order, and one for all that are applied.

    Raises:
        InputError: a backend that does not run the graph as it stands.
        UnknownNameError: no such device.
        WeightsError: the weights are too large for fp16, or without recorded ranges for int8.
    """
    from postfilter.export.key import DEFAULT_DEVICE

    if backend not in ("openvino", "onnxruntime"):
        raise InputError(
            f"rewrites are measured on openvino and onnxruntime, which run the graph itself, not on {backend}; choose "
            "one of the two, or leave --explain out"
        )
    step = on_step or (lambda text: None)
    size = size or _SIZE
    check_precision(precision, backend, device=device or DEFAULT_DEVICE[backend])
    if precision == "int8":
        ranges = ranges or recorded_ranges(model.card, weights_sha256=model.weights_sha256)
    plain = to_graph(model, size=size)
    variants, plan = _variants(plain, backend=backend, precision=precision)
    with tempfile.TemporaryDirectory(prefix="postfilter-explain-") as folder, ExitStack() as opened:
        engines = []
        for index, graph in enumerate(variants):
            step(f"making variant {index + 1} of {len(variants)}")
            manifest = _manifest(model, backend, device or DEFAULT_DEVICE[backend], precision, size)
            place = _write(
                Path(folder) / str(index), lowered(graph, precision, ranges=ranges, backend=backend), manifest
            )
            engines.append(opened.enter_context(load_engine(place, threads=threads)))
        step(f"timing {len(engines)} graphs at {size[0]}x{size[1]}")
        times, outputs = _measure(engines, size, seconds=_SECONDS if seconds is None else seconds)

    def row(name: str, applied: bool, what: Sequence[str], kept: str, pair: tuple[int, int] | None) -> ExplainedPass:
        if pair is None:
            return ExplainedPass(
                name=name, applied=applied, what=tuple(what), kept=kept,
                ms_before=None, ms_after=None, speedup=None, max_abs_diff=None, pays=None,
            )  # fmt: skip
        before, after = pair
        speedup = times[before] / times[after]
        return ExplainedPass(
            name=name,
            applied=applied,
            what=tuple(what),
            ms_before=round(times[before], 3),
            ms_after=round(times[after], 3),
            speedup=round(speedup, 3),
            max_abs_diff=int(np.abs(outputs[after].astype(int) - outputs[before]).max()),
            pays=speedup >= _PAYS,
            kept=kept,
        )

    rows = [row(*each) for each in plan]
    last = max((pair[1] for _, applied, _, _, pair in plan if applied and pair is not None), default=None)
    total = "together, against the graph as PyTorch exports it"
    return [*rows, row(ALL, True, (), total, None if last is None else (0, last))]


_Plan = list[tuple[str, bool, list[str], str, tuple[int, int] | None]]


def _variants(plain: onnx.ModelProto, *, backend: str, precision: str) -> tuple[list[onnx.ModelProto], _Plan]:
    """Return the graphs to time, and for each pass what it did and which two of them tell what it buys."""
    variants = [plain]
    plan: dict[str, tuple[str, bool, list[str], str, tuple[int, int] | None]] = {}
    applied: list[str] = []
    current = 0

    def add(each: Pass, names: list[str]) -> tuple[int | None, list[str]]:
        graph, sentences = rewrite(plain, only=names)
        fewer = rewrite(plain, only=[name for name in names if name != each.name])[1]
        if len(sentences) == len(fewer):
            return None, []
        variants.append(graph)
        return len(variants) - 1, [sentence for sentence in sentences if sentence not in fewer]

    ordered = sorted(PASSES.values(), key=lambda each: backend not in each.backends)
    for each in ordered:
        on = backend in each.backends
        if each.precisions is not None and precision not in each.precisions:
            exact = " and ".join(sorted(each.precisions))
            plan[each.name] = (each.name, on, [], f"not for {precision}; for {exact} alone", None)
            continue
        made, what = add(each, [*applied, each.name])
        pair = None if made is None else (current, made)
        kept = each.reason(backend) if what else "the model has nothing for it"
        plan[each.name] = (each.name, on and bool(what), what, kept, pair)
        if on and made is not None:
            applied.append(each.name)
            current = made
    return variants, [plan[name] for name in PASSES]


def _manifest(model: Model, backend: str, device: str, precision: str, size: tuple[int, int]) -> EngineManifest:
    return EngineManifest(
        model=model.card.name,
        layout=model.card.layout,
        backend=backend,
        backend_version="",
        device=device,
        precision=precision,
        bit_depth=BIT_DEPTH,
        size=size,
        size_multiple=model.card.size_multiple,
        halo=model.card.halo,
        weights_sha256=model.weights_sha256,
    )


def _write(folder: Path, graph: onnx.ModelProto, manifest: EngineManifest) -> Path:
    """Make an engine folder that is good enough to be loaded."""
    import dataclasses

    folder.mkdir()
    (folder / GRAPH).write_bytes(graph_bytes(graph))
    files = {GRAPH: sha256_of_file(folder / GRAPH)}
    write_manifest(dataclasses.replace(manifest, files=files, graph_sha256=files[GRAPH]), folder)
    return folder


def _measure(engines: list[Engine], size: tuple[int, int], *, seconds: float) -> tuple[list[float], list[Any]]:
    """Return each engine's median time of a frame in milliseconds, and what it makes of the first frame."""
    width, height = size
    frames = sample_frames(engines[0], width=width, height=height)
    outputs = [engine(frames[0]) for engine in engines]
    times: list[list[float]] = [[] for _ in engines]
    begin = time.perf_counter()
    while len(times[0]) < _ROUNDS or time.perf_counter() - begin < seconds * len(engines):
        for engine, found in zip(engines, times, strict=True):
            # Not timed: the threads of the engine before may still be spinning, and the caches are full of its frame.
            engine(frames[0])
            for frame in frames[1:]:
                start = time.perf_counter()
                engine(frame)
                found.append((time.perf_counter() - start) * 1000)
    return [statistics.median(found) for found in times], outputs
