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
from postfilter.export.plan_options import PlanOptions
from postfilter.export.receptive_field import receptive_field
from postfilter.export.rewriting import rewrite as rewritten

if TYPE_CHECKING:
    import onnx

    from postfilter.export.plan import Workshop
    from postfilter.models import Model

__all__ = ["Prepared", "prepare"]

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

    def for_any_size(self) -> Prepared:
        """Return the same without the size."""
        if self.assembly.size is None:
            return self
        graph = to_graph(self.assembly.model)
        if self.assembly.rewrite:
            graph, _ = rewritten(graph, backend=self.assembly.backend)
        return dataclasses.replace(self, assembly=dataclasses.replace(self.assembly, size=None), graph=graph)


def prepare(
    model: str,
    *,
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    device: str | None = None,
    rewrite: bool = True,
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
        graph = to_graph(loaded, size=size)
        halo = _halo(graph, loaded)
        done: list[str] = []
        if rewrite:
            graph, done = rewritten(graph, backend=backend)
    for sentence in done:
        step(f"rewrote {sentence}")
    assembly = Assembly(
        model=loaded,
        backend=backend,
        device=device or DEFAULT_DEVICE[backend],
        size=size,
        plan_options=plan_options or PlanOptions(),
        workshop=workshop,
        halo=halo,
        rewrite=rewrite,
    )
    return Prepared(assembly=assembly, graph=graph, steps=tuple(done))


def _halo(graph: onnx.ModelProto, model: Model) -> int:
    """How far the graph reaches, before rewrites; what the card says where an operator is not known."""
    try:
        return receptive_field(graph).halo
    except ArtefactError as error:
        _log.warning("%s: the receptive field is taken from the model's card: %s", model.card.name, error)
        return model.card.halo


@contextlib.contextmanager
def _names_missing(package: str, purpose: str) -> Iterator[None]:
    try:
        yield
    except MissingDependencyError:
        raise
    except ImportError as error:
        raise MissingDependencyError(package, purpose, "export", error) from error
