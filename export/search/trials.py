"""Making, judging and timing the candidates of `export-engine --auto`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import PostfilterError
from postfilter.export.further import drawn_inputs
from postfilter.export.graph import to_graph
from postfilter.export.judged_frames import coded_pairs, drawn_pairs, fine_pairs
from postfilter.export.judgement import Judgement, mean_gain_db
from postfilter.export.passes.rewriting import PASSES, rewrite
from postfilter.export.pictures import drawn_frames
from postfilter.export.plan import open_workshop
from postfilter.export.precision import HIGHER, lowered
from postfilter.export.preparation import Prepared, prepare_graph
from postfilter.export.quantization import Quantizer, ranges_for
from postfilter.export.quantize_options import QuantizeOptions
from postfilter.export.search.candidates import AutoRow, Candidate, unavailable
from postfilter.export.search.entry import Entry
from postfilter.export.verify import GATES_DB, reference_output, verify_engine
from postfilter.quantize import convolutions, network_inputs
from postfilter.runtime import Engine, fastest_piece, load_engine, measure_memory, measure_speed, read_manifest
from postfilter.runtime.piece_choice import spread_pieces
from postfilter.runtime.piece_rule import geometry

if TYPE_CHECKING:
    import onnx

    from postfilter.export.plan_options import PlanOptions
    from postfilter.models import Model
    from postfilter.quantize import Ranges

__all__ = ["TIMED", "Search"]

TIMED = (720, 480)
"""(width, height) at which engines for any size are timed."""
_PIECE_SECONDS = 8.0
"""About how long pieces of frames may be timed; slow networks get fewer of them."""
_PIECES = 6
"""Pieces that are timed, at most."""
_PIECE_ROUNDS, _PIECE_FRAMES = 3, 3


class Search:
    """Engines of one model in a folder; the model's graph, its own output and its gain are found once.

    Args:
        model: network, weights and card.
        folder: for the engines; its owner removes it.
        size: (width, height) of the engines, or None for any.
        plan_options: how TensorRT builds its plans.
        quantize_options: what int8 is calibrated and judged with.
        seconds: how long each entry is timed in each round.
        on_step: told in a few words what begins.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        *,
        size: tuple[int, int] | None = None,
        plan_options: PlanOptions | None = None,
        quantize_options: QuantizeOptions | None = None,
        seconds: float,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        self.size = size
        self.width, self.height = size or TIMED
        self._model, self._folder, self._seconds = model, folder, seconds
        self._plan_options = plan_options
        self._options = quantize_options or QuantizeOptions()
        self.step = on_step or (lambda text: None)
        self.step("making the graph")
        self._plain = to_graph(model, size=size)
        # The frames judged on have sizes of their own.
        self._plain_for_any = self._plain if size is None else to_graph(model)
        self.step("finding what the model gains in fp32")
        layout, inputs, judged_on = model.card.layout, model.card.inputs, self._options.judge_with
        self._source = ", ".join(path.name for path in judged_on) or "drawn"
        self._pairs = coded_pairs(judged_on, layout, inputs=inputs) if judged_on else drawn_pairs(layout, inputs=inputs)
        self.fp32_db = mean_gain_db(partial(reference_output, model), self._pairs)
        """ΔPSNR of the model itself, in dB."""
        self._fine = fine_pairs(judged_on, layout, inputs=inputs)
        self._fine_fp32_db = mean_gain_db(partial(reference_output, model), self._fine) if self._fine else 0.0
        self._fine_of: dict[tuple[str, str], float] = {}
        self._frames = drawn_frames(layout, size=size)
        self._references = [reference_output(model, frame, drawn_inputs(model.card, frame)) for frame in self._frames]
        self._ranges: Ranges | None = None
        self._made = 0

    def enter(self, candidate: Candidate) -> Entry | AutoRow:
        """Make the engine of a candidate and judge it; return the row of one that cannot be had here."""
        try:
            prepared = self._prepared(candidate, self.size)
            folder = self._write(candidate, prepared)
            with load_engine(folder) as engine:
                told = verify_engine(engine, self._model, self._frames, references=self._references)
                run = engine.execution(width=self.width, height=self.height).precision_run
                gain, fine = self._gain(candidate, engine)
        except (PostfilterError, ImportError) as error:
            return unavailable(
                candidate.backend, candidate.device, candidate.precision, str(error), passes=candidate.passes or ()
            )
        judgement = Judgement(
            delta_psnr_fp32=self.fp32_db,
            delta_psnr=gain,
            frames=len(self._pairs),
            source=self._source,
            ms=0.0,
            # Whether a higher precision is faster is seen from the table.
            higher=HIGHER.get(candidate.precision, "fp32"),
            higher_ms=float("inf"),
            width=self.width,
            height=self.height,
            fine_fp32=self._fine_fp32_db,
            fine=fine,
            fine_higher=self._fine_of.get((candidate.backend, candidate.device), 0.0),
        )
        if candidate.precision in HIGHER.values():
            # Of the precisions tried so far, the one that does most harm.
            place = candidate.backend, candidate.device
            self._fine_of[place] = min(fine, self._fine_of.get(place, 0.0))
        objections = judgement.objections() if candidate.precision == "int8" else []
        gate = GATES_DB[candidate.precision]
        if told.psnr_db < gate:
            objections.insert(0, f"{told.psnr_db:.1f} dB to PyTorch, at least {gate:.0f} dB are required")
        return Entry(
            candidate=candidate,
            folder=folder,
            precision_run=run,
            psnr_db=told.psnr_db,
            delta_psnr=gain,
            kept=judgement.kept,
            objection=" and ".join(objections),
            passes=self._passes(candidate),
        )

    def time(self, entries: Sequence[Entry], *, rounds: int = 1, anew: bool = False) -> None:
        """Time entries in turn, so that a change of the machine's speed hits all; each alone in memory.

        Args:
            entries: to be timed.
            rounds: how often.
            anew: forget what was measured before, at other times.
        """
        for entry in entries if anew else ():
            entry.ms.clear()
            entry.fps.clear()
        for _ in range(rounds):
            for entry in entries:
                candidate = entry.candidate
                with load_engine(
                    entry.folder,
                    piece=candidate.piece or "whole",
                    requests=candidate.requests,
                    threads=candidate.threads,
                ) as engine:
                    speed = measure_speed(engine, width=self.width, height=self.height, seconds=self._seconds)
                    entry.requests = engine.requests
                entry.ms.append(speed.latency_ms["p50"])
                entry.fps.append(speed.fps)

    def weigh(self, entries: Sequence[Entry]) -> None:
        """Find the memory that each takes in a stream, in a process of its own."""
        for entry in entries:
            candidate = entry.candidate
            entry.peak_memory_mb = measure_memory(
                entry.folder,
                width=self.width,
                height=self.height,
                frames=entry.requests + 1,
                stream=True,
                piece=candidate.piece or "whole",
                requests=candidate.requests,
                threads=candidate.threads,
            ).peak_mb

    def mixed(self, candidate: Candidate) -> Candidate | None:
        """Return the candidate with as many layers in int8 as keep enough of the gain; None where there are none."""
        quantizer = Quantizer(prepared=self._prepared(candidate, self.size), options=self._options)
        layers = quantizer.choose_layers(quantizer.sensitivities())
        return dataclasses.replace(candidate, layers=layers) if layers else None

    def in_pieces(self, entry: Entry) -> list[Candidate]:
        """Return the candidate in the pieces that were measured to be the fastest, if they beat whole frames."""
        runs = _PIECE_ROUNDS * _PIECE_FRAMES + entry.requests
        count = min(_PIECES, int(_PIECE_SECONDS * entry.speed / runs) - 1)
        manifest = read_manifest(entry.folder)
        pieces = spread_pieces(self.width, self.height, count=max(count, 1), **geometry(manifest))
        found = fastest_piece(
            entry.folder, self.width, self.height, pieces, rounds=_PIECE_ROUNDS, frames=_PIECE_FRAMES
        ).piece
        return [dataclasses.replace(entry.candidate, piece=found)] if found else []

    def other_passes(self, candidate: Candidate) -> list[Candidate]:
        """Return the candidate with each exact rewrite added that is not usual for its backend and finds its place."""
        if candidate.backend == "torch" or candidate.passes is not None:
            return []
        usual = self._passes(candidate)
        found = []
        for each in PASSES.values():
            if candidate.backend in each.backends or candidate.precision not in (each.precisions or GATES_DB):
                continue
            more = dataclasses.replace(candidate, passes=tuple(name for name in PASSES if name in (*usual, each.name)))
            if self._passes(more) != usual and self._quantizable(more):
                found.append(more)
        return found

    def _prepared(self, candidate: Candidate, size: tuple[int, int] | None) -> Prepared:
        workshop = None
        if candidate.backend == "tensorrt":
            name, precision = self._model.card.name, candidate.precision
            workshop = open_workshop(
                candidate.device, model=name, precision=precision, size=size, options=self._plan_options
            )
        return prepare_graph(
            self._plain_for_any if size is None else self._plain,
            self._model,
            backend=candidate.backend,
            size=size,
            device=candidate.device,
            rewrite=True if candidate.passes is None else candidate.passes,
            plan_options=self._plan_options,
            workshop=workshop,
        )

    def _quantizable(self, candidate: Candidate) -> bool:
        """Whether the ranges are known of what the layers read after the rewrites, where int8 is asked for."""
        if candidate.precision != "int8" or self._ranges is None:
            return True
        graph, _ = rewrite(self._plain_for_any, only=candidate.passes)
        layers = set(convolutions(graph))
        read = {node.input[0] for node in graph.graph.node if node.name in layers}
        return read <= {*network_inputs(graph), *self._ranges.steps}

    def _write(self, candidate: Candidate, prepared: Prepared) -> Path:
        self._made += 1
        folder = self._folder / f"{self._made}-{candidate.backend}-{candidate.precision}"
        folder.mkdir(parents=True)
        prepared.assembly.write(self._lowered(candidate, prepared), folder, precision=candidate.precision)
        return folder

    def _lowered(self, candidate: Candidate, prepared: Prepared) -> onnx.ModelProto:
        if candidate.precision == "int8" and self._ranges is None:
            if self._options.calibrate:
                self.step("calibrating, which may take some minutes")
            # Values are called alike whatever rewrites were applied.
            self._ranges = ranges_for(self._model, self._plain_for_any, self._options.calibrate)
        return lowered(
            prepared.graph,
            candidate.precision,
            ranges=self._ranges,
            layers=candidate.layers,
            backend=candidate.backend,
        )

    def _gain(self, candidate: Candidate, engine: Engine) -> tuple[float, float]:
        """ΔPSNR in dB, and that at QP 22, of the engine's twin for any size where it takes one alone."""
        with ExitStack() as stack:
            if self.size is not None:
                folder = self._write(candidate, self._prepared(candidate, None))
                engine = stack.enter_context(load_engine(folder))
            return mean_gain_db(engine, self._pairs), mean_gain_db(engine, self._fine) if self._fine else 0.0

    def _passes(self, candidate: Candidate) -> tuple[str, ...]:
        """The names of the rewrites that change the graph."""
        wanted = candidate.passes
        if wanted is None:
            wanted = tuple(each.name for each in PASSES.values() if candidate.backend in each.backends)
        graph, found = self._plain_for_any, []
        for name in wanted:
            graph, done = rewrite(graph, only=[name])
            found += [name] if done else []
        return tuple(found)
