"""From a model's name to its rewritten fp32 graph, and to what writes engines of it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter import models
from postfilter.errors import ArtefactError, MissingDependencyError
from postfilter.export.assembly import Assembly
from postfilter.export.graph import to_graph
from postfilter.export.key import DEFAULT_DEVICE
from postfilter.export.passes.rewriting import rewrite as rewritten
from postfilter.export.plan_options import PlanOptions
from postfilter.export.receptive_field import receptive_field

if TYPE_CHECKING:
    import onnx

    from postfilter.export.plan import Workshop
    from postfilter.models import Model

__all__ = ["Prepared", "prepare", "prepare_graph"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model, ready for any precision."""

    assembly: Assembly
    """Writes engines of it."""
    graph: onnx.ModelProto
    """fp32, rewritten."""
    steps: tuple[str, ...]
    """A sentence for each rewrite that applied."""
    passes: tuple[str, ...] | None = None
    """The names of the rewrites applied; those that are usual for the backend where None."""

    def for_any_size(self) -> Prepared:
        """Return the same without the size."""
        if self.assembly.size is None:
            return self
        graph, _ = rewritten(to_graph(self.assembly.model), backend=self.assembly.backend, only=self.passes)
        return dataclasses.replace(self, assembly=dataclasses.replace(self.assembly, size=None), graph=graph)


def prepare(
    model: str,
    *,
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    device: str | None = None,
    rewrite: bool | tuple[str, ...] = True,
    plan_options: PlanOptions | None = None,
    workshop: Workshop | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Prepared:
    """Load a model, make its graph and rewrite it for a backend.

    Args:
        model: one of `models.names()`.
        backend: see `build_engine`, as all up to `plan_options`.
        size: as above.
        weights: as above.
        residual: as above.
        device: as above.
        rewrite: as above.
        plan_options: as above.
        workshop: TensorRT's builder, for that backend.
        on_step: told in a few words what begins.

    Raises:
        UnknownNameError: no such model.
        WeightsError: the weights are absent, damaged, or of another network.
        MissingDependencyError: torch or another package is not installed.
    """
    step = on_step or (lambda text: None)
    step(f"reading the weights of {model}")
    loaded = models.load(model, weights=weights, residual=residual)
    step("making the graph")
    with _names_missing("onnx", "making a graph"):
        prepared = prepare_graph(
            to_graph(loaded, size=size),
            loaded,
            backend=backend,
            size=size,
            device=device,
            rewrite=rewrite,
            plan_options=plan_options,
            workshop=workshop,
        )
    for sentence in prepared.steps:
        step(f"rewrote {sentence}")
    return prepared


def prepare_graph(
    plain: onnx.ModelProto,
    model: Model,
    *,
    backend: str,
    size: tuple[int, int] | None = None,
    device: str | None = None,
    rewrite: bool | tuple[str, ...] = True,
    plan_options: PlanOptions | None = None,
    workshop: Workshop | None = None,
) -> Prepared:
    """Rewrite a model's graph for a backend; see `prepare`.

    Args:
        plain: of `to_graph`, for the same size.
        model: which it was made of.
        backend: see `build_engine`, as all that follow.
        size: as above.
        device: as above.
        rewrite: as above.
        plan_options: as above.
        workshop: TensorRT's builder, for that backend.
    """
    passes = (None if rewrite else ()) if isinstance(rewrite, bool) else rewrite
    graph, done = rewritten(plain, backend=backend, only=passes)
    assembly = Assembly(
        model=model,
        backend=backend,
        device=device or DEFAULT_DEVICE[backend],
        size=size,
        plan_options=plan_options or PlanOptions(),
        workshop=workshop,
        halo=_halo(plain, model),
        # Blocks of outputs, which a rewrite computes at once, must begin where those of the whole frame do.
        period=_period(graph, model),
        rewrite=bool(rewrite),
    )
    return Prepared(assembly=assembly, graph=graph, steps=tuple(done), passes=passes)


def _halo(graph: onnx.ModelProto, model: Model) -> int:
    """How far the graph reaches, before rewrites; what the card says where an operator is not known."""
    try:
        return receptive_field(graph).halo
    except ArtefactError as error:
        _log.warning("%s: the receptive field is taken from the model's card: %s", model.card.name, error)
        return model.card.halo


def _period(graph: onnx.ModelProto, model: Model) -> int:
    """By how much the graph, after rewrites, may be moved; what the card says where an operator is not known."""
    try:
        return receptive_field(graph).size_multiple
    except ArtefactError as error:
        _log.warning("%s: pieces may differ from the frame in rounding: %s", model.card.name, error)
        return model.card.size_multiple


@contextlib.contextmanager
def _names_missing(package: str, purpose: str) -> Iterator[None]:
    try:
        yield
    except MissingDependencyError:
        raise
    except ImportError as error:
        raise MissingDependencyError(package, purpose, "export", error) from error
