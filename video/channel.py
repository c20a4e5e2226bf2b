"""A bounded queue between two threads that can be stopped from anywhere."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Channel", "Stop", "Stopped"]

Item = TypeVar("Item")


class Stopped(Exception):  # noqa: N818  # not an error: how a thread learns that another one ended the run
    """Raised in whoever waits on a channel when the run is stopped."""


class Stop:
    """One switch for a whole run: the first failure is kept, and every waiting thread wakes up."""

    def __init__(self) -> None:
        self.stopped = False
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._conditions: list[threading.Condition] = []

    def condition(self) -> threading.Condition:
        """Return a new condition, of which all that wait for it are woken when the run is stopped."""
        with self._lock:
            self._conditions.append(threading.Condition())
            return self._conditions[-1]

    def set(self, failure: BaseException | None = None) -> None:
        """Stop the run; only the first failure is kept, later ones are its consequences."""
        with self._lock:
            if not self.stopped:
                self.stopped, self.failure = True, failure
            conditions = tuple(self._conditions)
        for each in conditions:
            with each:
                each.notify_all()

    def guard(self, work: Callable[[], None], ended: threading.Event) -> None:
        """Do one thread's work: its failure stops the run, and `ended` is set whatever happens."""
        try:
            work()
        except Stopped:
            return
        except BaseException as error:
            self.set(error)
        finally:
            ended.set()


class Channel(Generic[Item]):
    """A queue of at most `capacity` items: the writer waits when it is full, the reader when it is empty.

    Args:
        stop: shared by all channels of a run.
        capacity: items that may wait, or what they may weigh together.
        weigh: what an item weighs.
    """

    def __init__(self, stop: Stop, *, capacity: int, weigh: Callable[[Item], int] = lambda _: 1) -> None:
        self._stop = stop
        # Of its own: whoever waits for another channel is not woken for nothing.
        self._changed = stop.condition()
        self.capacity = capacity
        self._weigh = weigh
        self._weight = 0
        self._items: deque[Item] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many items wait at this moment."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Append an item, waiting for room.

        Raises:
            Stopped: the run was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stop.stopped or self._weight < self.capacity)
            if self._stop.stopped:
                raise Stopped
            self._append(item)
            self._changed.notify_all()

    def offer(self, item: Item, *, wait_seconds: float) -> Item | None:
        """Append an item; where no room is made in time, take out and return the oldest one.

        Raises:
            Stopped: the run was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stop.stopped or self._weight < self.capacity, timeout=wait_seconds)
            if self._stop.stopped:
                raise Stopped
            oldest = self._pop() if self._weight >= self.capacity else None
            self._append(item)
            self._changed.notify_all()
            return oldest

    def close(self) -> None:
        """Say that nothing more comes; the reader gets None once all items are taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self) -> Item | None:
        """Take the oldest item, waiting for one; None at the end.

        Raises:
            Stopped: the run was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stop.stopped or self._items or self._closed)
            if self._stop.stopped:
                raise Stopped
            if not self._items:
                return None
            item = self._pop()
            self._changed.notify_all()
            return item

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._weight += self._weigh(item)

    def _pop(self) -> Item:
        item = self._items.popleft()
        self._weight -= self._weigh(item)
        return item
