"""One array of planes on its way through a compiled graph: whole, or in pieces that overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from postfilter.errors import InputError
from postfilter.runtime.padding import crop, pad_to

if TYPE_CHECKING:
    from postfilter.runtime.backend import Compiled, Pending, Samples
    from postfilter.runtime.pieces import Cut

__all__ = ["Job", "Part", "Patch", "PieceJob", "Started", "StreamJob", "WholeJob", "check_planes", "run_jobs"]


class Started:
    """A part of a job under way.

    Args:
        pending: the inference.
        finish: takes its output; returns the job's result if this was its last part.
        weight: how much of a request it takes, see `Part.weight`.
    """

    def __init__(self, pending: Pending, finish: Callable[[Samples], Samples | None], *, weight: float = 1.0) -> None:
        self.weight = weight
        self._pending = pending
        self._finish = finish

    def wait(self) -> Samples | None:
        """Block until it is done; return the job's result if nothing else of it is left."""
        return self._finish(self._pending.wait())

    def then(self, after: Callable[[Samples], Samples]) -> Started:
        """Return the same part with the job's result passed through `after`."""
        finish = self._finish

        def finish_after(output: Samples) -> Samples | None:
            result = finish(output)
            return None if result is None else after(result)

        return Started(self._pending, finish_after, weight=self.weight)

    def abandon(self) -> None:
        """Wait until it reads and writes nothing any more, whatever comes of it."""
        with suppress(Exception):
            self._pending.wait()


class StreamJob(Protocol):
    """Planes to be filtered between others; start it once."""

    def start(self) -> Iterator[Started | None]:
        """Begin its parts one by one, as the iterator is advanced; they are to be waited for in that order.

        A None among them asks for all that is under way to be waited for before the iterator is advanced.
        """
        ...


class Job(StreamJob, Protocol):
    """Planes to be filtered; run or start it, once."""

    def run(self) -> Samples:
        """Filter all of it now, every core on one part at a time."""
        ...


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One piece of one plane, and where it lies in the window that is filtered."""

    index: int
    """Which of the N planes."""
    cut: Cut
    size: tuple[int, int]
    """(width, height) of what is read of the plane."""
    at: tuple[int, int] = (0, 0)
    """First column and row in the window."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is filtered in one window, and what filters it."""

    compiled: Compiled
    """For `size`."""
    size: tuple[int, int]
    """(width, height) of the window."""
    patches: tuple[Patch, ...]
    """What lies in it: one piece that fills it, or several that do not overlap."""
    weight: float = 1.0
    """How much of a request it takes: several small parts may be under way instead of one large one, so that one core
    does not wait for another that filters a whole frame."""


def check_planes(planes: Samples, *, dtype: np.dtype[Any], bit_depth: int, layout: str, channels: int) -> None:
    """Refuse what is no array of planes for an engine of this type and layout.

    Raises:
        InputError: another type, number of channels or dimensions, or nothing in it.
    """
    if not isinstance(planes, np.ndarray) or planes.dtype != dtype:
        got = planes.dtype if isinstance(planes, np.ndarray) else type(planes).__name__
        raise InputError(
            f"got {got} samples; this engine takes a {dtype} array, for {bit_depth} bits; load it with another "
            "bit_depth, or convert the samples"
        )
    if planes.ndim != 4 or planes.shape[1] != channels or 0 in planes.shape:
        raise InputError(
            f"got planes of shape {planes.shape}; this {layout} engine takes [N, {channels}, H, W], none of them 0"
        )


def run_jobs(jobs: Iterable[StreamJob], *, requests: int) -> Iterator[Samples]:
    """Run jobs one after the other, parts of them that weigh `requests` at a time, and yield their results in order.

    A job is pulled when all parts of the one before are under way, so never more than that ahead. What pulling
    one raises is raised here after the results of all before it. Closed early, this waits for what is under way.
    """
    source = iter(jobs)
    under_way: deque[Started] = deque()
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                parts = next(source).start()
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            while True:
                try:
                    part = next(parts)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                if part is not None:
                    under_way.append(part)
                while under_way and (part is None or sum(each.weight for each in under_way) >= requests):
                    if (result := under_way.popleft().wait()) is not None:
                        yield result
        while under_way:
            if (result := under_way.popleft().wait()) is not None:
                yield result
    finally:
        # An inference failed, or nobody wants the rest: what is still under way reads the caller's arrays.
        for part in under_way:
            part.abandon()
    if failure is not None:
        raise failure


class WholeJob:
    """The planes in one inference, padded by edge replication and cropped back.

    Args:
        compiled: for the padded shape.
        planes: [N, C, H, W], any height and width up to the padded ones.
        width: padded, as `height`.
        height: see `width`.
    """

    def __init__(self, compiled: Compiled, planes: Samples, *, width: int, height: int) -> None:
        self._compiled = compiled
        self._samples = pad_to(planes, width=width, height=height)
        self._height, self._width = planes.shape[2:]

    def run(self) -> Samples:
        """See `Job.run`."""
        return self._cropped(self._compiled.infer(self._samples))

    def start(self) -> Iterator[Started]:
        """See `StreamJob.start`."""
        yield Started(self._compiled.start(self._samples), self._cropped)

    def _cropped(self, output: Samples) -> Samples:
        return crop(output, width=self._width, height=self._height)


class PieceJob:
    """The planes in pieces, each plane by itself; what is kept of each piece is copied into one new array.

    Input windows are copied into buffers that are used again, unless they lie contiguously in the planes already, as
    stripes of a luma plane do.

    Args:
        planes: [N, C, H, W].
        parts: what is to be filtered; at least one.
        base: makes, once the first part is done, a new array: the output where no part is kept; left out where the
            parts cover the planes.
    """

    def __init__(self, planes: Samples, parts: list[Part], base: Callable[[], Samples] | None = None) -> None:
        self._planes = planes
        self._parts = parts
        self._base = base
        self._left = len(parts)
        self._output: Samples | None = None
        self._buffers: dict[tuple[int, int], list[Samples]] = {}

    def run(self) -> Samples:
        """See `Job.run`."""
        for part in self._parts:
            window = self._window(part)
            self._keep(part, window, part.compiled.infer(window))
        return self._result()

    def start(self) -> Iterator[Started]:
        """See `StreamJob.start`."""
        for part in self._parts:
            window = self._window(part)
            pending = part.compiled.start(window)

            def finish(output: Samples, part: Part = part, window: Samples = window) -> Samples | None:
                self._keep(part, window, output)
                return None if self._left else self._result()

            yield Started(pending, finish, weight=part.weight)

    def _window(self, part: Part) -> Samples:
        """Return what a part reads, [1, C, height, width], C-contiguous."""
        width, height = part.size
        seen = self._seen(part.patches[0])
        if seen.shape[2:] == (height, width) and seen.flags.c_contiguous and seen.flags.writeable:
            return seen
        if buffers := self._buffers.get(part.size):
            buffer = buffers.pop()
        else:
            buffer = np.zeros((1, self._planes.shape[1], height, width), dtype=self._planes.dtype)
        for patch in part.patches:
            seen = self._seen(patch)
            high, wide = seen.shape[2:]
            (column, row), (width, height) = patch.at, patch.size
            place = buffer[:, :, row : row + height, column : column + width]
            place[:, :, :high, :wide] = seen
            if (high, wide) != (height, width):
                place[:, :, :high, wide:] = seen[:, :, :, -1:]
                place[:, :, high:] = place[:, :, high - 1 : high]
        return buffer

    def _seen(self, patch: Patch) -> Samples:
        """Return what of a patch lies in the plane, [1, C, at most height, at most width]."""
        (width, height), cut = patch.size, patch.cut
        return self._planes[patch.index : patch.index + 1, :, cut.y : cut.y + height, cut.x : cut.x + width]

    def _keep(self, part: Part, window: Samples, output: Samples) -> None:
        if self._output is None:
            if self._base is None:
                frames, _, height, width = self._planes.shape
                self._output = np.empty((frames, output.shape[1], height, width), dtype=output.dtype)
            else:
                self._output = self._base()
        for patch in part.patches:
            cut = patch.cut
            column, row = patch.at[0] - cut.x, patch.at[1] - cut.y
            rows = slice(row + cut.top, row + cut.bottom)
            columns = slice(column + cut.left, column + cut.right)
            self._output[patch.index, :, cut.top : cut.bottom, cut.left : cut.right] = output[0, :, rows, columns]
        self._left -= 1
        if window.base is None:  # one of ours, not a view of the caller's planes
            self._buffers.setdefault(part.size, []).append(window)

    def _result(self) -> Samples:
        assert self._output is not None
        return self._output
