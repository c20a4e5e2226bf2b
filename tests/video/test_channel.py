"""The bounded queue between two threads."""

from __future__ import annotations

import threading
import time

import pytest

from postfilter.video.channel import Channel, Stop, Stopped


def test_items_come_in_order_and_then_the_end() -> None:
    channel: Channel[int] = Channel(Stop(), capacity=3)

    def write() -> None:
        for number in range(100):
            channel.put(number)
        channel.close()

    thread = threading.Thread(target=write)
    thread.start()
    got = []
    while (item := channel.get()) is not None:
        got.append(item)
    thread.join()
    assert got == list(range(100))
    assert channel.get() is None


def test_the_writer_waits_when_the_queue_is_full() -> None:
    channel: Channel[int] = Channel(Stop(), capacity=2)
    put: list[int] = []

    def write() -> None:
        for number in range(5):
            channel.put(number)
            put.append(number)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    time.sleep(0.1)
    assert put == [0, 1]
    assert channel.get() == 0
    time.sleep(0.1)
    assert put == [0, 1, 2]
    for _ in range(4):
        channel.get()
    thread.join(timeout=5)
    assert not thread.is_alive()


@pytest.mark.parametrize("full", [True, False])
def test_a_stop_wakes_whoever_waits_and_keeps_the_first_failure(full: bool) -> None:
    stop = Stop()
    channel: Channel[int] = Channel(stop, capacity=1)
    if full:
        channel.put(0)
    caught: list[type[BaseException]] = []

    def wait() -> None:
        try:
            channel.put(1) if full else channel.get()
        except Stopped as error:
            caught.append(type(error))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.05)
    first = ValueError("first")
    stop.set(first)
    stop.set(ValueError("second"))
    thread.join(timeout=5)
    assert caught == [Stopped]
    assert stop.failure is first


def test_heavy_items_take_more_room() -> None:
    stop = Stop()
    channel: Channel[int] = Channel(stop, capacity=4, weigh=lambda item: item)
    channel.put(2)
    channel.put(2)
    waiting = threading.Thread(target=channel.put, args=(1,))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive() and len(channel) == 2
    assert channel.get() == 2
    waiting.join(timeout=5)
    assert [channel.get(), channel.get()] == [2, 1]
