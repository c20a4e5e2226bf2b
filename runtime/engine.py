"""The engine: samples in, samples out, whatever runs below."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from postfilter.errors import ArtefactError, InputError, UnknownNameError
from postfilter.runtime.backend import BACKENDS, Execution, Layer, Options, backend_class, multiplies
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.compatibility import require_compatible
from postfilter.runtime.further_inputs import FurtherInput, pack
from postfilter.runtime.jobs import PieceJob, WholeJob, check_planes, run_jobs
from postfilter.runtime.manifest import MANIFEST, EngineManifest, read_manifest
from postfilter.runtime.padding import padded_size
from postfilter.runtime.piece_rule import (
    Piece,
    PieceRule,
    activation_bytes,
    check_piece,
    geometry,
    given_piece,
    streams_of,
)
from postfilter.runtime.pieces import cut_frame

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from postfilter.runtime.backend import Backend, Compiled, Samples, Shape
    from postfilter.runtime.jobs import Job
    from postfilter.runtime.pieces import Cut

__all__ = ["Engine", "load_engine"]

_SHAPES_KEPT = 4
"""Compiled shapes kept: a video has one or two, a folder of pictures two (upright and across) or many."""


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
    return Engine(manifest, backend, options, rule)


class Engine:
    """A filter for decoded planes: uint8 (or uint16 above 8 bits) samples in, the same out.

    Made by `load_engine`. Normalising, the residual addition, rounding and clipping happen inside; height and width may
    be anything: the planes are padded by edge replication to `size_multiple` and cropped back. Frames may be filtered
    in pieces that overlap by the network's reach, with the same output: each sample is the sum of the same products,
    which a backend may add in another order for another shape, so that one next to a half may be rounded the other way.

    Buffers: input planes are read, never written, and need not outlive the call (in `stream`: until their output has
    been yielded). Every output is a new C-contiguous array that belongs to the caller.

    One engine may be used from several threads; they share its cores.
    """

    def __init__(self, manifest: EngineManifest, backend: Backend, options: Options, rule: PieceRule) -> None:
        self.manifest = manifest
        self.layout: Literal["luma", "rgb"] = manifest.layout
        self.channels: int = manifest.channels
        self.inputs: tuple[FurtherInput, ...] = manifest.inputs
        """What it reads beside the picture."""
        self.bit_depth: int = options.bit_depth
        self.dtype: np.dtype[Any] = np.dtype(sample_type(options.bit_depth))
        self.size: tuple[int, int] | None = manifest.size
        """(width, height) where it is made for one size; None where it takes any."""
        self.size_multiple: int = manifest.size_multiple
        self.halo: int = manifest.halo
        """Receptive-field radius in samples."""
        self.requests: int = backend.requests
        """Frames that `stream` keeps in flight; of frames that are filtered in pieces, so many pieces."""
        self.piece: tuple[int, int] | None = given_piece(manifest, rule.piece)
        """(width, height) of the pieces asked for, None for whole frames; `piece_for` tells what a size really gets."""
        self.memory_limit_mb: float | None = rule.memory_limit_mb
        self._rule = rule
        self._plans: dict[tuple[int, int], tuple[int, int] | None] = {}
        self.threads: int | None = options.threads
        self.device: str = options.device
        self._backend: Backend | None = backend
        self._compiled: OrderedDict[Shape, Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, planes: Samples, *, inputs: Mapping[str, ArrayLike] | None = None) -> Samples:
        """Filter planes and return them, as a new array.

        Args:
            planes: uint8 at 8 bits, uint16 (code values up to 2 ** bit_depth - 1) above; [N, C, H, W], C = `channels`.
            inputs: what the engine declares in `inputs`, by name, each a number, one for each block of 16x16 samples,
                [N, ceil(H / 16), ceil(W / 16)], or one for each sample, [N, H, W]. What is left out takes its default.

        Raises:
            InputError: another type, number of channels or size; or an input without default is left out.
        """
        return self._job(self._packed(planes, inputs)).run()

    def stream(self, planes: Iterable[Samples]) -> Iterator[Samples]:
        """Filter a sequence of planes, `requests` of them at a time; yield the outputs in the order of the inputs.

        Inputs are pulled as outputs are taken, never more than `requests` ahead. An exception of `planes` is raised
        here after the outputs of all inputs before it. The iterator can be closed at any time.

        Args:
            planes: arrays as `__call__` takes them; their sizes may differ. One must not be changed before its output
                has come.

        Raises:
            InputError: as `__call__`, when the offending array's turn comes.
        """
        return run_jobs((self._job(self._packed(each)) for each in planes), requests=self.requests)

    def piece_for(self, *, width: int, height: int) -> tuple[int, int] | None:
        """Return (width, height) of the pieces in which a frame of this size is filtered; None where it is whole.

        Raises:
            InputError: the engine is made for another size, the piece is too small for the network's reach, or nothing
                fits the memory limit.
        """
        self._check_size(width, height)
        with self._lock:
            if (width, height) not in self._plans:
                self._plans[width, height] = self._rule.at(width, height)
            return self._plans[width, height]

    def prepare(self, *, width: int, height: int, frames: int = 1, stream: bool = False) -> None:
        """Compile for one size now, so that the first frame does not wait for it.

        Args:
            width: of the planes to come, as `height`.
            height: see `width`.
            frames: N of the arrays to come.
            stream: whether they will come through `stream`, for which a backend may compile differently.

        Raises:
            InputError: the engine is made for another size.
            ArtefactError: it cannot be compiled for this size here.
        """
        self._compiled_for(frames, width, height).prepare(stream=stream)

    def layers(self, *, width: int, height: int) -> list[Layer]:
        """The layers as executed for one frame of this size; with times once it ran, if loaded with `layer_times`.

        Of a frame in pieces, times and counts are those of its last piece times the number of pieces.
        """
        layers = self._compiled_for(1, width, height).layers()
        piece = self.piece_for(width=width, height=height)
        count = 1 if piece is None else len(self._cuts(width, height, piece))
        return [
            replace(each, **{key: value * count for key in ("ms", "mmac") if (value := getattr(each, key)) is not None})
            for each in layers
        ]

    def execution(self, *, width: int, height: int) -> Execution:
        """What really runs for one frame of this size: versions, device, and the precision of each layer."""
        layers = self.layers(width=width, height=height)
        backend = self._open_backend()
        multiplying = [layer.precision for layer in layers if multiplies(layer.type)] or [
            layer.precision for layer in layers
        ]
        return Execution(
            backend_version=backend.version,
            device=self.device,
            device_name=backend.device_name,
            precision_run=max(set(multiplying), key=multiplying.count) if multiplying else "unknown",
            precision_by_layer={layer.name: layer.precision for layer in layers},
        )

    def close(self) -> None:
        """Let go of the backend's threads and memory. Calling it again does nothing."""
        with self._lock:
            self._compiled.clear()
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _packed(self, planes: Samples, inputs: Mapping[str, ArrayLike] | None = None) -> Samples:
        check_planes(planes, dtype=self.dtype, bit_depth=self.bit_depth, layout=self.layout, channels=self.channels)
        return pack(planes, self.inputs, inputs, peak=2**self.bit_depth - 1)

    def _job(self, planes: Samples) -> Job:
        frames, _, height, width = planes.shape
        compiled = self._compiled_for(frames, width, height)
        piece = self.piece_for(width=width, height=height)
        if piece is not None:
            return PieceJob(compiled, planes, self._cuts(width, height, piece), piece)
        width, height = padded_size(width, height, multiple=self.size_multiple)
        return WholeJob(compiled, planes, width=width, height=height)

    def _cuts(self, width: int, height: int, piece: tuple[int, int]) -> list[Cut]:
        return cut_frame(width, height, piece=piece, **geometry(self.manifest))

    def _check_size(self, width: int, height: int) -> None:
        if self.size is not None:
            wanted = padded_size(*self.size, multiple=self.size_multiple)
            if padded_size(width, height, multiple=self.size_multiple) != wanted:
                raise InputError(
                    f"got planes of {width}x{height}; this engine is made for {self.size[0]}x{self.size[1]} alone: "
                    "make one with --size dynamic, or of that size"
                )

    def _compiled_for(self, frames: int, width: int, height: int) -> Compiled:
        piece = self.piece_for(width=width, height=height)
        if piece is not None:
            frames, (width, height) = 1, piece
        width, height = padded_size(width, height, multiple=self.size_multiple)
        shape = (frames, self.manifest.input_channels, height, width)
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._open_backend().compile(shape)
                while len(self._compiled) > _SHAPES_KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return self._compiled[shape]

    def _open_backend(self) -> Backend:
        if self._backend is None:
            raise InputError("the engine is closed; load it again with load_engine")
        return self._backend
