"""Engines by name: a folder is loaded, a model's engine is built once and kept in the user's cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter import models
from postfilter.errors import InputError
from postfilter.export.cache import cached_folder, cached_standing, tidy, used
from postfilter.export.key import request_parts
from postfilter.runtime import load_engine
from postfilter.runtime.manifest import MANIFEST

if TYPE_CHECKING:
    from postfilter.export.build import Precision
    from postfilter.runtime import Engine
    from postfilter.runtime.piece_rule import Piece

__all__ = ["cached_engine", "engine_folder", "engine_from", "names_model"]

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
    piece: Piece = "auto",
    memory_limit_mb: float | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Engine:
    """Return an engine ready to run: the one in a folder, or the cached one of a model.

    Args:
        model_or_engine: see `engine_folder`.
        precision: of a model's engine, as all up to `residual`; see `build_engine`. A folder's engine stays as built.
        backend: as above.
        size: as above.
        weights: as above.
        residual: as above.
        bit_depth: see `runtime.load_engine`, as all that follow.
        device: as above.
        threads: as above.
        requests: as above.
        piece: as above.
        memory_limit_mb: as above.
        on_step: told in a few words what begins, while an engine is built.

    Raises:
        InputError: neither a model nor a folder with an engine.
        PostfilterError: see `runtime.load_engine` and `build_engine`.
    """
    folder = engine_folder(
        model_or_engine,
        precision=precision,
        backend=backend,
        size=size,
        weights=weights,
        residual=residual,
        on_step=on_step,
    )
    return load_engine(
        folder,
        bit_depth=bit_depth,
        device=device,
        threads=threads,
        requests=requests,
        piece=piece,
        memory_limit_mb=memory_limit_mb,
    )


def engine_folder(
    model_or_engine: str | Path,
    *,
    precision: Precision = "fp32",
    backend: str = "openvino",
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Return the folder of an engine: the one that was given, or that of a model's engine in the cache.

    Args:
        model_or_engine: a model's name, or the path of a folder that holds `engine.json`. A name is the model's
            wherever one stands, so that a command means the same in every folder; a folder of that name is given as
            `./name`, or as a `Path`, which is never a model's name. What a folder holds is found out on loading.
        precision: of a model's engine, as all that follow; see `build_engine`. A folder's engine stays as built.
        backend: as above.
        size: as above.
        weights: as above.
        residual: as above.
        on_step: told in a few words what begins, while an engine is built.

    Raises:
        InputError: text that is neither a model nor a path.
        PostfilterError: see `build_engine`.
    """
    path = Path(model_or_engine)
    if names_model(model_or_engine):
        if (path / MANIFEST).is_file():
            _log.warning("%s is taken for the model; the engine in this folder is ./%s", path, path)
        return cached_engine(
            str(model_or_engine),
            precision=precision,
            backend=backend,
            size=size,
            weights=weights,
            residual=residual,
            on_step=on_step,
        )
    if isinstance(model_or_engine, str) and not path.exists():
        raise InputError(
            f"{model_or_engine!r} is neither a model ({', '.join(models.names())}) nor a folder with an engine; "
            "make one with export-engine"
        )
    return path.parent if path.name == MANIFEST else path


def names_model(model_or_engine: str | Path) -> bool:
    """Whether this is a model's name rather than a folder's; see `engine_folder`."""
    return isinstance(model_or_engine, str) and model_or_engine in models.names()


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

    An engine found there is used if its files are whole and every part of its key is what it would be now; it then
    needs no torch. Changed weights, code, backend versions, drivers or processors make another engine, and `on_step` is
    told which of them did.

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
    from postfilter.export.build import build_engine

    parts = request_parts(
        model,
        precision=precision,
        backend=backend,
        size=size,
        weights=weights,
        residual=residual,
    )
    found = cached_standing(parts)
    if found.current:
        used(found.engine)
        return found.engine
    if on_step:
        on_step(f"building the engine of {model}: {found.reason}")
    folder = cached_folder(parts)
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
    tidy(folder)
    return folder
