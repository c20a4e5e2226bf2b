"""The fastest engine that is still the same filter, found by trying: what `export-engine --auto` does."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter import models
from postfilter.errors import ArtefactError, OutputError, UnknownNameError, VerificationError
from postfilter.export.build import BuildResult, build_engine
from postfilter.export.cache import Standing, standing
from postfilter.export.folder import check_replaceable, staging_folder
from postfilter.export.key import request_parts, with_key
from postfilter.export.precision import PRECISIONS, Precision
from postfilter.export.quantize_options import QuantizeOptions
from postfilter.export.search.candidates import AutoRow, Candidate, first_candidates
from postfilter.export.search.choice import Choice, choose_engine
from postfilter.export.search.entry import Entry
from postfilter.export.search.plot import draw_choice
from postfilter.export.search.trials import Search
from postfilter.runtime import BACKENDS, EngineManifest, read_manifest, write_manifest
from postfilter.runtime.backend import usable_cores
from postfilter.runtime.cuda_probe import probe_cuda
from postfilter.runtime.machine import installed_version
from postfilter.runtime.manifest import sha256_of_file

if TYPE_CHECKING:
    from postfilter.export.plan_options import PlanOptions

__all__ = ["PICTURE", "TABLE", "Request", "build_fastest", "read_table", "standing_choice", "was_chosen"]

TABLE, PICTURE = "auto.json", "auto.png"
"""The names of the table and its picture inside an engine's folder."""

_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an engine is searched for; for all but `backends` and `precisions` see `build_engine`."""

    model: str
    size: tuple[int, int] | None = None
    weights: Path | None = None
    residual: bool | None = None
    backends: tuple[str, ...] = tuple(BACKENDS)
    """To choose from."""
    precisions: tuple[Precision, ...] = PRECISIONS
    """To choose from."""
    device: str | None = None
    """Of the one backend; each backend's own where None."""
    plan_options: PlanOptions | None = None
    quantize_options: QuantizeOptions = field(default_factory=QuantizeOptions)

    def parts(self, *, precision: str, backend: str, device: str | None = None) -> dict[str, Any]:
        """Return all that decides about the engine that was found: see `key.request_parts`.

        What else might have been found is among it: the backends and their versions, the GPU and the number of cores.
        """
        probe = probe_cuda() if "tensorrt" in self.backends else None
        gpu = [each.name for each in probe.devices] if probe else []
        ranges = models.card(self.model).ranges_path
        among = {
            "backends": {name: installed_version(name, load=False) for name in self.backends},
            "precisions": list(self.precisions),
            "device": self.device,
            "gpus": gpu,
            "cores": usable_cores(),
        }
        return request_parts(
            self.model,
            precision=precision,
            backend=backend,
            device=device,
            size=self.size,
            weights=self.weights,
            residual=self.residual,
            plan_options=self.plan_options,
            quantize_options=self.quantize_options,
            ranges=sha256_of_file(ranges) if ranges.is_file() else None,
            auto=among,
        )


def build_fastest(
    request: Request,
    place: Callable[[Candidate], Path],
    *,
    verify_with: Path | None = None,
    seconds: float | None = None,
    on_step: Callable[[str], None] | None = None,
) -> tuple[BuildResult, list[AutoRow]]:
    """Try all candidates, build the fastest that passes, and write it with the table of all to a folder.

    The engine is the one that `build_engine` makes of the same settings. Where pieces, frames in flight or threads
    other than the backend's own were faster, its manifest says so, and `load_engine` runs it like that.

    Args:
        request: what is searched for.
        place: the folder of a candidate's engine. An engine that is there already is replaced, anything else is not.
        verify_with: see `build_engine`.
        seconds: how long each candidate is timed each time, of which half goes to single frames and half to a stream;
            1 where None.
        on_step: told in a few words what begins.

    Returns:
        What was built, and the table in its order.

    Raises:
        VerificationError: no candidate passes.
        PostfilterError: see `build_engine`; what is wrong with one candidate alone is told in its row.
    """
    started = time.perf_counter()
    for backend in request.backends:
        if backend not in BACKENDS:
            raise UnknownNameError("backend", backend, tuple(BACKENDS))
    candidates, absent = first_candidates(request.backends, request.precisions, device=request.device)
    for each in candidates:
        check_replaceable(place(each))
    if not candidates:
        Choice(absent=absent).choose()
    model = models.load(request.model, weights=request.weights, residual=request.residual)
    with tempfile.TemporaryDirectory(prefix="postfilter-auto-") as name:
        search = Search(
            model,
            Path(name),
            size=request.size,
            plan_options=request.plan_options,
            quantize_options=request.quantize_options,
            seconds=_SECONDS if seconds is None else seconds,
            on_step=on_step,
        )
        choice = choose_engine(search, candidates, absent)
        while True:
            chosen = choice.choose()
            search.step(f"building the fastest that passes: {chosen.candidate}")
            try:
                built = _build(request, chosen.candidate, Path(name) / "built", verify_with, on_step)
            except VerificationError as error:
                choice.refuse_chosen(str(error))
            else:
                break
        rows = choice.rows()
        output = place(chosen.candidate)
        parts = request.parts(
            precision=chosen.candidate.precision, backend=chosen.candidate.backend, device=chosen.candidate.device
        )
        with staging_folder(output) as staging:
            _copy(built.engine, staging)
            title = f"{request.model} at {search.width}x{search.height}: quality against speed"
            (staging / TABLE).write_text(json.dumps([row.as_json() for row in rows], indent=1) + "\n", encoding="utf-8")
            draw_choice(rows, staging / PICTURE, title=title, fp32_db=search.fp32_db)
            manifest = with_key(_with_choice(built.manifest, chosen, staging), parts)
            write_manifest(manifest, staging)
    result = dataclasses.replace(built, engine=output, manifest=manifest, build_seconds=time.perf_counter() - started)
    return result, rows


def standing_choice(request: Request, folders: Sequence[Path]) -> Standing:
    """Compare the engines in folders with what would be searched for now; return the current one, else the first.

    Args:
        request: what would be searched for.
        folders: where engines may be; at least one.
    """
    found = []
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except ArtefactError:
            # Absent or damaged, of which the standing tells.
            found.append(standing(folder, {}))
            continue
        parts = request.parts(precision=manifest.precision, backend=manifest.backend, device=manifest.device)
        found.append(standing(folder, parts))
    return next((each for each in found if each.current), found[0])


def was_chosen(folder: Path) -> bool:
    """Whether a folder holds the table of a search beside its engine."""
    return (folder / TABLE).is_file()


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Return the table of an engine that a search found, as JSON has it.

    Raises:
        ArtefactError: there is none, or it cannot be read.
    """
    try:
        rows = json.loads((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot read {folder / TABLE} ({error}); search again with --rebuild") from error
    return list(rows)


def _build(
    request: Request,
    candidate: Candidate,
    output: Path,
    verify_with: Path | None,
    on_step: Callable[[str], None] | None,
) -> BuildResult:
    options = dataclasses.replace(request.quantize_options, layers=candidate.layers)
    return build_engine(
        request.model,
        precision=candidate.precision,
        backend=candidate.backend,
        size=request.size,
        weights=request.weights,
        residual=request.residual,
        output=output,
        device=candidate.device,
        rewrite=True if candidate.passes is None else candidate.passes,
        verify_with=verify_with,
        plan_options=request.plan_options,
        quantize_options=options if candidate.precision == "int8" else None,
        on_step=on_step,
    )


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the engine to {target.parent} ({error}); give another --output") from error


def _with_choice(manifest: EngineManifest, chosen: Entry, folder: Path) -> EngineManifest:
    """The manifest with how the engine is best run, and with the files that the search added."""
    candidate = chosen.candidate
    run = {"threads": candidate.threads, "requests": candidate.requests}
    added = {name: sha256_of_file(folder / name) for name in (TABLE, PICTURE)}
    return dataclasses.replace(
        manifest,
        piece=candidate.piece,
        run={name: number for name, number in run.items() if number is not None},
        files=dict(sorted((manifest.files | added).items())),
    )
