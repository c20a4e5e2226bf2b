"""From a model's name to a verified engine folder."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter import models
from postfilter.errors import UnknownNameError
from postfilter.export.folder import check_replaceable, staging_folder
from postfilter.export.key import DEFAULT_DEVICE, request_parts, with_key
from postfilter.export.pictures import drawn_frames, read_frames
from postfilter.export.plan import open_workshop
from postfilter.export.precision import PRECISIONS, Precision, check_precision, lowered
from postfilter.export.preparation import prepare
from postfilter.export.quantization import quantized
from postfilter.export.quantize_options import QuantizeOptions
from postfilter.export.verify import GATES_DB, Verification, check_gate, verify_engine
from postfilter.runtime import BACKENDS, EngineManifest, Execution, load_engine, write_manifest

if TYPE_CHECKING:
    from postfilter.export.plan_options import PlanOptions
    from postfilter.models import Model

__all__ = ["DEFAULT_DEVICE", "PRECISIONS", "BuildResult", "Precision", "build_engine"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """An engine that was built and verified."""

    engine: Path
    """Its folder."""
    manifest: EngineManifest
    build_seconds: float
    """Wall time from reading the weights to the finished folder."""
    steps: tuple[str, ...] = ()
    """What was done on the way, such as the rewrites that applied."""


def build_engine(
    model: str,
    *,
    precision: Precision = "fp32",
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    output: Path,
    device: str | None = None,
    threads: int | None = None,
    rewrite: bool | tuple[str, ...] = True,
    verify_with: Path | None = None,
    plan_options: PlanOptions | None = None,
    quantize_options: QuantizeOptions | None = None,
    on_step: Callable[[str], None] | None = None,
) -> BuildResult:
    """Build an engine from a model, verify it against the model, and write it to a folder.

    The folder is made under a temporary name beside its place and renamed at the end: a build that fails leaves what
    was there before.

    Args:
        model: one of `models.names()`.
        precision: `fp32`, or `fp16`, `bf16` or `int8` inside the network. A CPU without fp16 arithmetic may run fp16 as
            bf16, which the manifest tells; where bf16 misses the gate, the engine is made to compute in fp32 from its
            fp16 weights. An int8 engine is judged as well, see `export.judgement`.
        backend: a key of `runtime.BACKENDS`.
        size: (width, height) of every frame, or None for any size.
        weights: the user's own weights; the shipped ones where None.
        residual: whether the network's output is added to its input; see `models.load`.
        output: the folder. An engine that is there already is replaced, anything else is not.
        device: the backend's name of a device; its CPU where None.
        threads: CPU threads for the verification; every core where None.
        rewrite: apply the exact rewrites; False leaves the graph as PyTorch exports it, for comparisons. Names of
            `export.passes.rewriting.PASSES` apply these instead of those that are usual for the backend.
        verify_with: a clip or picture to verify on; pictures drawn and coded on the spot where None.
        plan_options: how TensorRT builds its plan; other backends have no use for them.
        quantize_options: how int8 is made and judged; other precisions have no use for them.
        on_step: told in a few words what begins.

    Raises:
        UnknownNameError: no such model, precision, backend or device.
        DeviceError: a TensorRT engine is built on a GPU, and this machine has none.
        WeightsError: the weights are absent, damaged, of another network, too large for fp16, or without recorded
            ranges for int8.
        OutputError: the folder holds something else, or cannot be written.
        InputError: a file of the user's cannot be decoded, or the backend does not have the precision.
        VerificationError: the engine does not compute what the model does; or, in int8, keeps too little of its gain or
            is no faster than fp16.
        MissingDependencyError: torch or another package is not installed.
    """
    started = time.perf_counter()
    step = on_step or (lambda text: None)
    card = models.card(model)
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, tuple(BACKENDS))
    check_precision(precision, backend, device=device or DEFAULT_DEVICE[backend])
    check_replaceable(output)
    options = quantize_options or QuantizeOptions()
    workshop = None
    if backend == "tensorrt":
        workshop = open_workshop(
            device or DEFAULT_DEVICE[backend], model=model, precision=precision, size=size, options=plan_options
        )
    frames = read_frames(verify_with, card.layout, size=size) if verify_with else drawn_frames(card.layout, size=size)

    parts = request_parts(
        model,
        precision=precision,
        backend=backend,
        device=device,
        size=size,
        weights=weights,
        residual=residual,
        rewrite=rewrite,
        plan_options=plan_options,
        quantize_options=quantize_options,
    )
    prepared = prepare(
        model,
        backend=backend,
        size=size,
        weights=weights,
        residual=residual,
        device=device,
        rewrite=rewrite,
        plan_options=plan_options,
        workshop=workshop,
        on_step=on_step,
    )
    quantization: dict[str, Any] = {}
    if precision == "int8":
        graph, quantization = quantized(prepared, options, threads=threads, on_step=on_step)
    else:
        graph = lowered(prepared.graph, precision)
    loaded = prepared.assembly.model

    with staging_folder(output) as staging:
        if backend in ("torch", "tensorrt"):
            step("making the program for PyTorch" if backend == "torch" else "building the TensorRT plan, for minutes")
        manifest = prepared.assembly.write(graph, staging, precision=precision, quantization=quantization)
        step(f"verifying on {backend}")
        source = verify_with.name if verify_with else "drawn"
        manifest, verification = _verified(staging, manifest, loaded, frames, threads=threads, source=source)
        if not options.force:
            check_gate(verification, precision=precision, name=model)
        manifest = with_key(manifest, parts)
        write_manifest(manifest, staging)
    return BuildResult(
        engine=output, manifest=manifest, build_seconds=time.perf_counter() - started, steps=prepared.steps
    )


def _verified(
    folder: Path, manifest: EngineManifest, model: Model, frames: list[Any], *, threads: int | None, source: str
) -> tuple[EngineManifest, Verification]:
    """Verify the engine in `folder`; return its manifest with what ran and what came out, complete."""
    verification, execution = _run(folder, manifest, model, frames, threads=threads, source=source)
    gate = GATES_DB[manifest.precision]
    if verification.psnr_db < gate and manifest.precision == "fp16" and execution.precision_run == "bf16":
        _log.warning(
            "%s computed in %s reaches %.1f dB against the model, and %.0f dB are required: the engine will compute in "
            "fp32 from its fp16 weights",
            model.card.name,
            execution.precision_run,
            verification.psnr_db,
            gate,
        )
        forced = dataclasses.replace(manifest, precision_run="fp32")
        verification, execution = _run(folder, forced, model, frames, threads=threads, source=source)
    complete = dataclasses.replace(
        manifest,
        backend_version=execution.backend_version,
        device=execution.device,
        device_name=execution.device_name,
        precision_run=execution.precision_run,
        precision_by_layer=execution.precision_by_layer,
        verification=verification.as_json(),
    )
    return complete, verification


def _run(
    folder: Path, manifest: EngineManifest, model: Model, frames: list[Any], *, threads: int | None, source: str
) -> tuple[Verification, Execution]:
    """Load the engine as a user would, through its manifest, and compare it with its model."""
    write_manifest(manifest, folder)
    with load_engine(folder, threads=threads) as engine:
        verification = verify_engine(engine, model, frames, source=source)
        height, width = frames[0].shape[2:]
        return verification, engine.execution(width=width, height=height)
