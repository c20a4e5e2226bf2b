"""Loading an engine: its files verified, its backend made ready, its pieces decided."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from postfilter.errors import ArtefactError, InputError, UnknownNameError
from postfilter.runtime.backend import BACKENDS, Options, backend_class
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.compatibility import require_compatible
from postfilter.runtime.engine import Engine
from postfilter.runtime.manifest import MANIFEST, read_manifest
from postfilter.runtime.piece_rule import Piece, PieceRule, activation_bytes, check_piece, streams_of

__all__ = ["load_engine"]


def load_engine(
    path: str | os.PathLike[str],
    *,
    bit_depth: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    requests: int | None = None,
    piece: Piece = "auto",
    memory_limit_mb: float | None = None,
    layer_times: bool = False,
    cuda_graphs: bool = True,
    compile_network: bool = False,
) -> Engine:
    """Load an engine that `export-engine` made, after verifying its files.

    Args:
        path: the engine folder.
        bit_depth: bits a sample of the planes it will be given; the engine's own (8) where None. Another depth is an
            exact edit of the graph on loading, see `runtime.bit_depth`.
        device: the backend's name of a device; the one the engine was made for where None.
        threads: CPU threads; where None the engine's own (`EngineManifest.run`), else every core. With torch this holds
            for the whole process.
        requests: frames that `stream` keeps in flight; where None the engine's own, else 1 with a memory limit, which
            leaves room for the largest pieces, else the backend's choice. More take more memory: with OpenVINO all but
            one have activations of their own, so 2 need half of what 3 do.
        piece: (width, height) of the overlapping pieces in which frames are filtered, each side rounded up to the size
            multiple; `whole` for none. The output is that of the whole frame, and memory does not grow with it. `auto`
            takes what was measured to be fastest when the engine was made (`EngineManifest.piece`), else whole frames.
        memory_limit_mb: MiB above the idle process that filtering may take, frames included; `auto` then chooses the
            piece with the least overlap that is estimated to fit a stream. OpenVINO also gives back what only compiling
            needed, as it does with a piece.
        layer_times: keep the time of each layer, for `Engine.layers`; costs a little speed.
        cuda_graphs: replay recorded CUDA graphs where the backend can (TensorRT, PyTorch); False makes every call
            by itself, to find out whether they are to blame.
        compile_network: have torch.compile make each shape's network faster where it measures that it is (PyTorch):
            takes seconds to minutes, and a compiler. On CPUs it gained 2 to 4 %.

    Raises:
        ArtefactError: no engine there, a damaged one, or one that cannot run here.
        MissingDependencyError: its backend is not installed, or broken.
        DeviceError: it needs a GPU, and this machine has none.
        InputError: a bit depth outside 8 to 16, fewer than one thread or request, or a piece or memory limit that is no
            positive number. Whether they suit a frame is known with its size, and told by `piece_for` and all that
            filters.
        UnknownNameError: no such device here.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == MANIFEST else folder
    manifest = read_manifest(folder)
    for what, value in (("threads", threads), ("requests", requests)):
        if value is not None and value < 1:
            raise InputError(f"{what} is {value}; it must be at least 1, or left out")
    check_piece(manifest, piece, memory_limit_mb)
    # What was measured on one device says nothing of another.
    measured = manifest.run if device in (None, manifest.device) else {}
    options = Options(
        bit_depth=manifest.bit_depth if bit_depth is None else bit_depth,
        device=device or manifest.device,
        threads=threads or measured.get("threads"),
        # Under a limit the room is better spent on one large piece than on several small ones, which overlap more.
        requests=requests or (measured.get("requests") if memory_limit_mb is None else 1),
        layer_times=layer_times,
        cuda_graphs=cuda_graphs,
        compile_network=compile_network,
        spare_memory=memory_limit_mb is not None
        or (manifest.piece if piece == "auto" else piece) not in (None, "whole"),
    )
    dtype = np.dtype(sample_type(options.bit_depth))
    require_compatible(folder, manifest, device=options.device)
    try:
        kind = backend_class(manifest.backend)
    except UnknownNameError as error:
        raise ArtefactError(
            f"the engine {folder} was made for the backend {manifest.backend!r}, which this postfilter does not have; "
            f"it has {', '.join(BACKENDS)}: make the engine again with one of them"
        ) from error
    backend = kind(folder, manifest, options)
    rule = PieceRule(
        manifest=manifest,
        piece=piece,
        memory_limit_mb=memory_limit_mb,
        activation_bytes_per_px=0.0 if memory_limit_mb is None else activation_bytes(folder, manifest),
        dtype=dtype,
        streams=streams_of(manifest.backend, backend.requests),
        requests=backend.requests,
    )
    return Engine(manifest, backend, options, rule, lambda: kind(folder, manifest, replace(options, bit_depth=16)))
