"""Int8 for one model: ranges, the judgement, and which layers stay in float where all in int8 would lose too much."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import InputError
from postfilter.export.further import declared_inputs
from postfilter.export.judged_frames import coded_pairs, drawn_pairs, fine_pairs
from postfilter.export.judgement import Judgement, check_judgement, mean_gain_db, side_by_side_ms
from postfilter.export.precision import HIGHER, lowered, weight_bits
from postfilter.export.verify import reference_output
from postfilter.quantize import calibrate, calibration_crops, convolutions, recorded_ranges
from postfilter.runtime import load_engine

if TYPE_CHECKING:
    import onnx

    from postfilter.export.precision import Precision
    from postfilter.export.preparation import Prepared
    from postfilter.export.quantize_options import QuantizeOptions
    from postfilter.models import Model
    from postfilter.quantize import Ranges
    from postfilter.runtime import Engine

__all__ = ["Quantizer", "Sensitivity", "quantized", "ranges_for"]

_log = logging.getLogger(__name__)

_TIMED = (720, 480)
"""(width, height) at which engines for any size are timed."""
_LEAST_SAVED_MS = 0.01
"""So that a layer that saves nothing is the dearest of all."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What one layer costs and gives when it alone is quantized."""

    layer: str
    delta_psnr: float
    """What the engine gains with this layer alone in int8, in dB."""
    kept: float
    """Of what fp32 gains."""
    saved_ms: float
    """Less time a frame than with no layer in int8; may be negative."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return dataclasses.asdict(self)


def quantized(
    prepared: Prepared,
    options: QuantizeOptions,
    *,
    threads: int | None = None,
    on_step: Callable[[str], None] | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return a model's int8 graph, which was judged, and what its manifest says of it.

    Where all layers in int8 keep too little of fp32's gain, or do harm at QP 22, some stay in float; see
    `Quantizer.choose_layers`.

    Args:
        prepared: the model.
        options: how it is made and judged.
        threads: CPU threads for judging; every core where None.
        on_step: told in a few words what begins.

    Raises:
        VerificationError: the engine keeps too little, or is no faster than the next higher precision.
        WeightsError: nothing is recorded of these weights, and nothing was given to calibrate on.
        InputError: nothing of the user's files can be decoded, or a layer that there is not.
    """
    step = on_step or (lambda text: None)
    quantizer = Quantizer(prepared=prepared, options=options, threads=threads, on_step=on_step)
    step("judging int8 against fp32 and fp16")
    layers = options.layers or tuple(quantizer.layers)
    judgement = quantizer.judge("int8", layers)
    sensitivities: list[Sensitivity] = []
    if options.layers is None and not judgement.faithful and not options.force:
        harm = f" and lose {judgement.added_loss_db:.4f} dB at QP 22" if judgement.added_loss_db else ""
        step(f"all layers in int8 keep {judgement.kept:.1%}{harm}: looking for those that have to stay in float")
        sensitivities = quantizer.sensitivities()
        chosen = quantizer.choose_layers(sensitivities)
        # With none left in int8 there is no int8 engine, and the refusal tells of the one with all.
        if chosen:
            layers, judgement = chosen, quantizer.judge("int8", chosen)
    name = prepared.assembly.model.card.name
    if not options.force:
        check_judgement(judgement, precision="int8", name=name)
    for objection in judgement.objections():
        _log.warning("the int8 engine of %s is kept although %s", name, objection)
    ranges, backend = quantizer.ranges, prepared.assembly.backend
    told = {
        "calibrated_on": ranges.source,
        "frames": ranges.frames,
        "fidelity_db": ranges.fidelity_db,
        "layers": list(layers),
        "weight_bits": weight_bits(backend),
        "judgement": judgement.as_json(),
        "sensitivities": [each.as_json() for each in sensitivities],
    }
    return lowered(prepared.graph, "int8", ranges=ranges, layers=layers, backend=backend), told


def ranges_for(
    model: Model,
    graph: onnx.ModelProto,
    calibrate_with: Sequence[Path],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Return the ranges of a model: found on decoded clips or pictures, or recorded with its weights.

    Args:
        model: network, weights and card.
        graph: its fp32 graph, for any size.
        calibrate_with: files and folders; none for the recorded ranges.
        on_progress: called as `on_progress(trials done, trials in all)` while calibrating.

    Raises:
        WeightsError: no files were given, and nothing is recorded of these weights.
        InputError: nothing of the files can be decoded.
    """
    if not calibrate_with:
        return recorded_ranges(model.card, weights_sha256=model.weights_sha256)
    from postfilter.export.calibration_frames import read_calibration_frames

    card = model.card
    frames = read_calibration_frames(calibrate_with, card.layout, inputs=declared_inputs(card))
    return calibrate(
        graph,
        calibration_crops(frames, multiple=card.size_multiple, further=len(card.inputs) - len(card.pictures)),
        model=model.card.name,
        weights_sha256=model.weights_sha256,
        source=", ".join(path.name for path in calibrate_with),
        frames=len(frames),
        on_progress=on_progress,
    )


class Quantizer:
    """Judges engines of one model on one backend; ranges, frames and the fp32 model's gain are found once.

    Args:
        prepared: the model. It is judged without its size, so that frames of any size will do, and timed at it.
        options: how int8 is made and judged.
        threads: CPU threads; every core where None.
        on_step: told in a few words what begins.

    Raises:
        PostfilterError: see `quantized`.
    """

    def __init__(
        self,
        *,
        prepared: Prepared,
        options: QuantizeOptions,
        threads: int | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        step = on_step or (lambda text: None)
        self._step = step
        self._timed = prepared.assembly.size or _TIMED
        self._threads = threads
        prepared = prepared.for_any_size()
        self._assembly, self._graph = prepared.assembly, prepared.graph
        self.layers = convolutions(self._graph)
        """The layers that could be quantized."""
        unknown = set(options.layers or ()) - set(self.layers)
        if unknown:
            raise InputError(f"there is no layer {', '.join(sorted(unknown))}; there are {', '.join(self.layers)}")
        if options.calibrate:
            step("calibrating, which may take some minutes")
        model = self._assembly.model
        self.ranges = ranges_for(model, self._graph, options.calibrate, on_progress=_told_in_quarters(step))
        self._source = ", ".join(path.name for path in options.judge_with) or "drawn"
        layout, inputs = model.card.layout, model.card.inputs
        given = options.judge_with
        self._pairs = coded_pairs(given, layout, inputs=inputs) if given else drawn_pairs(layout, inputs=inputs)
        self._fine = fine_pairs(given, layout, inputs=inputs)
        reference = partial(reference_output, model)
        self._fp32_db = mean_gain_db(reference, self._pairs)
        self._fine_fp32_db = mean_gain_db(reference, self._fine) if self._fine else 0.0
        self._fine_higher_db: float | None = None

    def judge(self, precision: Precision, layers: Collection[str] | None = None) -> Judgement:
        """Make an engine and one of the next higher precision, and compare them.

        Args:
            precision: below fp32.
            layers: to quantize; all where None.
        """
        higher = HIGHER[precision]
        with ExitStack() as stack:
            engine = stack.enter_context(self._engine(precision, layers))
            other = stack.enter_context(self._engine(higher, None))
            width, height = self._timed
            times = side_by_side_ms({"engine": engine, "other": other}, width=width, height=height)
            return self._judged(engine, higher=higher, ms=times["engine"], higher_ms=times["other"])

    def sensitivities(self) -> list[Sensitivity]:
        """Quantize each layer alone; return what that costs and gives, in the graph's order."""
        found, layers = [], self.layers
        width, height = self._timed
        with self._engine("int8", ()) as none:
            for index, layer in enumerate(layers):
                self._step(f"{layer} alone in int8, {index + 1} of {len(layers)}")
                with self._engine("int8", (layer,)) as engine:
                    times = side_by_side_ms({"none": none, "one": engine}, width=width, height=height)
                    gain = mean_gain_db(engine, self._pairs)
                kept = gain / self._fp32_db if self._fp32_db else 0.0
                saved = times["none"] - times["one"]
                found.append(Sensitivity(layer=layer, delta_psnr=gain, kept=kept, saved_ms=saved))
        return found

    def choose_layers(self, sensitivities: Sequence[Sensitivity]) -> tuple[str, ...]:
        """Return the layers to quantize so that enough of the gain is kept.

        Layers go back to float one after another, first the one that costs most ΔPSNR for each millisecond it saves,
        until enough of the gain is kept and no harm is done at QP 22; see `Judgement.faithful`.
        """
        left = list(self.layers)
        dearest = sorted(
            sensitivities, key=lambda each: (1 - each.kept) / max(each.saved_ms, _LEAST_SAVED_MS), reverse=True
        )
        for each in dearest:
            with self._engine("int8", left) as engine:
                if self._judged(engine).faithful:
                    break
            left.remove(each.layer)
        return tuple(left)

    def _judged(
        self, engine: Engine, *, higher: Precision = "fp16", ms: float = 0.0, higher_ms: float = 0.0
    ) -> Judgement:
        """Return what an engine keeps, with times that were measured."""
        width, height = self._timed
        return Judgement(
            delta_psnr_fp32=self._fp32_db,
            delta_psnr=mean_gain_db(engine, self._pairs),
            frames=len(self._pairs),
            source=self._source,
            ms=ms,
            higher=higher,
            higher_ms=higher_ms,
            width=width,
            height=height,
            fine_fp32=self._fine_fp32_db,
            fine=mean_gain_db(engine, self._fine) if self._fine else 0.0,
            fine_higher=self._fine_higher(higher) if self._fine else 0.0,
        )

    def _fine_higher(self, higher: Precision) -> float:
        """What the precision gains at QP 22 that would be taken instead; there is one for int8, so it is kept."""
        if self._fine_higher_db is None:
            with self._engine(higher, None) as engine:
                self._fine_higher_db = mean_gain_db(engine, self._fine)
        return self._fine_higher_db

    @contextmanager
    def _engine(self, precision: Precision, layers: Collection[str] | None) -> Iterator[Engine]:
        """An engine in a folder that lasts as long as it is used."""
        backend = self._assembly.backend
        graph = lowered(self._graph, precision, ranges=self.ranges, layers=layers, backend=backend)
        with tempfile.TemporaryDirectory(prefix="postfilter-") as folder:
            self._assembly.write(graph, Path(folder), precision=precision)
            with load_engine(folder, threads=self._threads) as engine:
                yield engine


def _told_in_quarters(step: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what tells of every quarter of the trials that a calibration makes."""

    def tell(done: int, total: int) -> None:
        if 4 * done // total > 4 * (done - 1) // total:
            step(f"calibrating: {done} of {total} trials")

    return tell
