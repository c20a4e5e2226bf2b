"""Engines by name: a folder is loaded, a model's engine is built once and kept in the user's cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter import models
from postfilter.errors import ArtefactError, InputError, UnknownNameError
from postfilter.export.key import build_key, gpu_facts, installed_version, request_key
from postfilter.runtime import BACKENDS, load_engine, read_manifest
from postfilter.runtime.manifest import MANIFEST

if TYPE_CHECKING:
    from postfilter.export.build import Precision
    from postfilter.runtime import Engine, EngineManifest

__all__ = ["cache_folder", "cached_engine", "engine_from", "is_usable"]

_log = logging.getLogger(__name__)


def engine_from(
    model_or_engine: str | Path,
    *,
    precision: Precision = "fp32",
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    bit_depth: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    requests: int | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Engine:
    """Return an engine ready to run: the one in a folder, or the cached one of a model.

    Args:
        model_or_engine: a folder that holds `engine.json`, or a model's name.
        precision: of a model's engine, as all up to `residual`; see `build_engine`. A folder's engine stays as built.
        backend: as above.
        size: as above.
        weights: as above.
        residual: as above.
        bit_depth: see `runtime.load_engine`, as all that follow.
        device: as above.
        threads: as above.
        requests: as above.
        on_step: told in a few words what begins, while an engine is built.

    Raises:
        InputError: neither a model nor a folder with an engine.
        PostfilterError: see `runtime.load_engine` and `build_engine`.
    """
    path = Path(model_or_engine)
    if str(model_or_engine) in models.names() and not (path / MANIFEST).is_file():
        path = cached_engine(
            str(model_or_engine),
            precision=precision,
            backend=backend,
            size=size,
            weights=weights,
            residual=residual,
            on_step=on_step,
        )
    elif not path.exists():
        raise InputError(
            f"{str(model_or_engine)!r} is neither a model ({', '.join(models.names())}) nor a folder with an engine; "
            "make one with export-engine"
        )
    return load_engine(path, bit_depth=bit_depth, device=device, threads=threads, requests=requests)


def cached_engine(
    model: str,
    *,
    precision: Precision = "fp32",
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Return the folder of a model's engine in the user's cache; it is built where there is none yet.

    An engine found there is used if its files are whole and its build key is the one that this machine's backend gives.
    It then needs no torch. Changed weights, code, backend versions or processors make another engine.

    Args:
        model: one of `models.names()`.
        precision: see `build_engine`, as all that follow.
        backend: as above.
        size: as above.
        weights: as above.
        residual: as above.
        on_step: told in a few words what begins, while the engine is built.

    Raises:
        PostfilterError: see `build_engine`.
    """
    card = models.card(model)
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, tuple(BACKENDS))
    from postfilter.export.build import DEFAULT_DEVICE, build_engine

    source = weights or card.weights_path
    if not source.is_file():
        models.load(model, weights=weights)  # which tells what is wrong with it
    key = request_key(
        model,
        weights=source,
        residual=residual,
        precision=precision,
        backend=backend,
        device=DEFAULT_DEVICE[backend],
        size=size,
    )
    label = "dynamic" if size is None else f"{size[0]}x{size[1]}"
    folder = cache_folder() / f"{model}-{label}-{precision}-{backend}-{key[:16]}"
    if is_usable(folder):
        return folder
    build_engine(
        model,
        precision=precision,
        backend=backend,
        size=size,
        weights=weights,
        residual=residual,
        output=folder,
        on_step=on_step,
    )
    return folder


def cache_folder() -> Path:
    """Return where engines are kept: `postfilter/engines` in `XDG_CACHE_HOME`, else in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "postfilter" / "engines"


def is_usable(folder: Path) -> bool:
    """Whether `folder` holds a whole engine with the build key that this machine's backend would give it again."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(folder)
    except ArtefactError as error:
        _log.warning("building the cached engine anew: %s", error)
        return False
    return manifest.build_key == _key_of(manifest)


def _key_of(manifest: EngineManifest) -> str:
    return build_key(
        graph_sha256=manifest.graph_sha256,
        backend=manifest.backend,
        backend_version=installed_version(manifest.backend),
        device=manifest.device,
        precision=manifest.precision,
        size=manifest.size,
        # What was built for another GPU or driver gets another key by this, and so is built again.
        options=manifest.built_for | gpu_facts(manifest.backend, manifest.device),
    )
