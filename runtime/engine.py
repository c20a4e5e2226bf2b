"""The engine: samples in, samples out, whatever runs below."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from postfilter.errors import InputError
from postfilter.runtime.backend import Execution, Layer, Options, multiplies
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.further_inputs import FurtherInput, pack
from postfilter.runtime.jobs import Part, Patch, PieceJob, WholeJob, check_planes, run_jobs
from postfilter.runtime.manifest import EngineManifest
from postfilter.runtime.padding import padded_size
from postfilter.runtime.piece_rule import PieceRule, geometry, given_piece
from postfilter.runtime.pieces import cut_frame
from postfilter.runtime.stream_item import StreamItem, with_kept
from postfilter.runtime.tile_job import ItemJob
from postfilter.runtime.windows import windows_for

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from postfilter.runtime.backend import Backend, Compiled, Samples, Shape
    from postfilter.runtime.jobs import Job, StreamJob
    from postfilter.runtime.pieces import Cut
    from postfilter.runtime.tile_reuse import TileReuse
    from postfilter.runtime.windows import Windows

__all__ = ["Engine"]

_SHAPES_KEPT = 4
"""Compiled shapes kept: a video has one or two, a folder of pictures two (upright and across) or many."""


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

    def __init__(
        self,
        manifest: EngineManifest,
        backend: Backend,
        options: Options,
        rule: PieceRule,
        twin: Callable[[], Backend],
    ) -> None:
        """Take the parts of an engine; `twin` makes its backend again, for 16 bits a sample."""
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
        self._twin = twin
        self._plans: dict[tuple[int, int], tuple[int, int] | None] = {}
        self.threads: int | None = options.threads
        self.device: str = options.device
        self._backend: Backend | None = backend
        self._compiled: OrderedDict[Shape, Compiled] = OrderedDict()
        self._windows: OrderedDict[tuple[int, ...], Windows] = OrderedDict()
        self._compile_network = options.compile_network
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

    def stream(self, planes: Iterable[Samples | StreamItem], *, reuse: TileReuse | None = None) -> Iterator[Samples]:
        """Filter a sequence of planes, `requests` of them at a time; yield the outputs in the order of the inputs.

        Inputs are pulled as outputs are taken, never more than `requests` ahead. An exception of `planes` is raised
        here after the outputs of all inputs before it. The iterator can be closed at any time.

        Args:
            planes: arrays as `__call__` takes them, or items with more beside them; their sizes may differ. One must
                not be changed before its output has come.
            reuse: a `TileReuse`, and what did not change since the item before is not filtered again. The outputs are
                the same to the bit, but read-only: they are what the next are made of, and an item that did not change
                at all gives the very array of the item before.

        Raises:
            InputError: as `__call__`, when the offending array's turn comes.
        """
        if reuse is not None:
            reuse.restart()
        return run_jobs((self._stream_job(each, reuse) for each in planes), requests=self.requests)

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
            self._windows.clear()
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
            cuts = self._cuts(width, height, piece)
            patches = [Patch(index=n, cut=cut, size=piece) for n in range(frames) for cut in cuts]
            return PieceJob(planes, [Part(compiled=compiled, size=piece, patches=(each,)) for each in patches])
        width, height = padded_size(width, height, multiple=self.size_multiple)
        return WholeJob(compiled, planes, width=width, height=height)

    def _stream_job(self, given: Samples | StreamItem, reuse: TileReuse | None) -> StreamJob:
        item = given if isinstance(given, StreamItem) else StreamItem(planes=given)
        samples = self._packed(item.planes, item.inputs)
        if reuse is not None:
            return reuse.job(item, samples, halo=self.halo, whole=self._job, windows=self._windows_for)
        if item.keep is None:
            return self._job(samples)
        job = None if item.keep.all() else self._job(samples)
        return ItemJob(job, lambda output: item.planes.copy() if output is None else with_kept(output, item))

    def _windows_for(self, shape: tuple[int, ...]) -> Windows:
        """How planes of a shape are filtered in part; tried once for each shape."""
        with self._lock:
            known = self._windows.get(shape)
        if known is None:
            known = windows_for(self, shape)
            with self._lock:
                self._windows[shape] = known
                while len(self._windows) > _SHAPES_KEPT:
                    self._windows.popitem(last=False)
        return known

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
