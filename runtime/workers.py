"""Asynchronous inference for backends that have none of their own: threads that run one inference each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples

__all__ = ["FutureSamples", "Workers"]


class Workers:
    """Threads that start with the first task. Their tasks release the interpreter's lock while they compute.

    Args:
        count: how many inferences run side by side.
        name: prefix of the threads' names, for debuggers and stack dumps.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    def start(self, infer: Callable[[Samples], Samples], samples: Samples) -> FutureSamples:
        """Run `infer(samples)` when a thread is free."""
        return FutureSamples(self._executor.submit(infer, samples))

    def close(self) -> None:
        """Wait for the tasks under way and end the threads."""
        self._executor.shutdown(wait=True)


class FutureSamples:
    """An inference under way in a worker; a `runtime.backend.Pending`."""

    def __init__(self, future: Future[Samples]) -> None:
        self._future = future

    def wait(self) -> Samples:
        """Block until it is done; raise what it raised."""
        return self._future.result()
