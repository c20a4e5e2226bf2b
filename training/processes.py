"""Several processes that train one network together, as torchrun starts them: each has a share of every batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from postfilter.errors import InputError

__all__ = ["Processes", "joined"]

T = TypeVar("T")

# The first validates, or codes footage, while the others wait. One that died is noticed by torchrun.
PATIENCE = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Where one of several processes stands; without arguments, one alone."""

    rank: int = 0
    """0 is the first, which alone validates, writes and tells."""
    count: int = 1
    local_rank: int = 0
    """As `rank` and `count`, of those on this machine."""
    local_count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, writes and tells."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The process's own GPU, or the CPU."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    def share(self, batch_size: int) -> slice:
        """The patches of a batch that are this process's.

        Raises:
            InputError: the batch cannot be divided evenly.
        """
        each, left = divmod(batch_size, self.count)
        if left or not each:
            below = max(each, 1) * self.count
            raise InputError(
                f"got a batch of {batch_size} patches for {self.count} processes; each needs as many as the others: "
                f"try --batch-size {below} or {below + self.count}"
            )
        return slice(self.rank * each, (self.rank + 1) * each)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            distributed.barrier()

    def from_first(self, work: Callable[[], T]) -> T:
        """Do some work in the first process alone; return what it made, in all of them.

        Where it raises, the others leave without a word: the first tells what was wrong.
        """
        if self.count == 1:
            return work()
        box: list[tuple[T] | None] = [None]
        failure = None
        if self.first:
            try:
                box = [(work(),)]
            except Exception as error:
                failure = error
        distributed.broadcast_object_list(box, src=0)
        if failure is not None:
            raise failure
        if box[0] is None:
            raise SystemExit(1)
        return box[0][0]


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that torchrun has started, over NCCL on GPUs and Gloo on CPUs; yield where this one stands.

    Without torchrun that is one alone.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        yield Processes()
        return
    processes = Processes(
        rank=int(os.environ["RANK"]),
        count=count,
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_count=int(os.environ["LOCAL_WORLD_SIZE"]),
    )
    if processes.device.type == "cuda":
        torch.cuda.set_device(processes.device)
    distributed.init_process_group("nccl" if processes.device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield processes
    finally:
        distributed.destroy_process_group()
