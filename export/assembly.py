"""The files of an engine: a graph, what its backend compiles from it, and a manifest that says what they are."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import OutputError
from postfilter.export.cache import cache_folder
from postfilter.export.costs import cost
from postfilter.export.further import declared_inputs
from postfilter.export.graph import BIT_DEPTH, graph_bytes
from postfilter.export.plan import build_plan
from postfilter.export.plan_options import PlanOptions, frame_range
from postfilter.export.program import save_program
from postfilter.runtime import EngineManifest, write_manifest
from postfilter.runtime.activations import activation_bytes_per_px
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.manifest import GRAPH, sha256_of_file
from postfilter.runtime.piece_rule import ACTIVATION_BYTES
from postfilter.runtime.pt import PROGRAM
from postfilter.runtime.trt import PLAN

if TYPE_CHECKING:
    import onnx

    from postfilter.export.plan import Workshop
    from postfilter.export.precision import Precision
    from postfilter.models import Model

__all__ = ["Assembly"]

_COST_SIZE = (1920, 1080)
"""The size that costs are told for where the engine takes any."""


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Writes engines of one model for one backend and size, in any precision."""

    model: Model
    backend: str
    device: str
    """The backend's own name of it."""
    size: tuple[int, int] | None
    """(width, height), or None for any."""
    plan_options: PlanOptions
    workshop: Workshop | None = None
    """TensorRT's builder; None for other backends."""
    halo: int = 0
    """Receptive-field radius in samples."""
    period: int = 1
    """See `EngineManifest.period`."""
    rewrite: bool = True
    """Whether PyTorch programs are rewritten; graphs come as they shall be."""

    def write(
        self, graph: onnx.ModelProto, folder: Path, *, precision: Precision, quantization: dict[str, Any] | None = None
    ) -> EngineManifest:
        """Write an engine of `graph` into a folder that is there; return its manifest, which is written last.

        What verification will add to the manifest is missing from it.

        Raises:
            OutputError: the folder cannot be written to.
            PostfilterError: the backend cannot compile the graph.
        """
        card, content = self.model.card, graph_bytes(graph)
        built_for: dict[str, Any] = {}
        with _writing(folder):
            (folder / GRAPH).write_bytes(content)
            if self.backend == "torch":
                save_program(
                    self.model,
                    folder / PROGRAM,
                    precision=precision,
                    device=self.device,
                    size=self.size,
                    rewrite=self.rewrite,
                )
            if self.workshop is not None:
                sizes = frame_range(
                    channels=card.input_channels, multiple=card.size_multiple, size=self.size, options=self.plan_options
                )
                plan = build_plan(
                    self.workshop,
                    content,
                    sizes,
                    options=self.plan_options,
                    timings=cache_folder().parent / "timings",
                )
                (folder / PLAN).write_bytes(plan.content)
                built_for = plan.built_for
            names = [name for name in (GRAPH, PROGRAM, PLAN) if (folder / name).is_file()]
            files = {name: sha256_of_file(folder / name) for name in sorted(names)}
        costs = cost(card.name, *(self.size or _COST_SIZE))
        manifest = EngineManifest(
            model=card.name,
            layout=card.layout,
            backend=self.backend,
            backend_version="",
            device=self.device,
            precision=precision,
            sample_type=sample_type(BIT_DEPTH),
            bit_depth=BIT_DEPTH,
            inputs=declared_inputs(card),
            size=self.size,
            size_multiple=card.size_multiple,
            halo=self.halo,
            period=self.period,
            weights_sha256=self.model.weights_sha256,
            graph_sha256=hashlib.sha256(content).hexdigest(),
            files=files,
            cost=costs.as_json() | {ACTIVATION_BYTES: activation_bytes_per_px(graph)},
            built_for=built_for,
            quantization=quantization or {},
        )
        write_manifest(manifest, folder)
        return manifest


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write the engine to {folder.parent} ({error}); give another folder with --output"
        ) from error
