"""A preview that is served, and frames to show in it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from postfilter.video import ColourTags, Frame, FrameRecord
from postfilter.video.preview import Preview


def grey_frame(code: int, *, index: int, size: tuple[int, int]) -> Frame:
    width, height = size
    planes = [np.full((height, width), code, np.uint8)]
    planes += [np.full((-(-height // 2), -(-width // 2)), 128, np.uint8) for _ in range(2)]
    return Frame.from_planes(
        planes, format="yuv420p", pts=index, time_base=Fraction(1, 25), colour=ColourTags(full_range=True)
    )


def look(preview: Preview, index: int, *, size: tuple[int, int] = (64, 36), **figures: Any) -> None:
    """Show a frame whose decoded grey is its index, and whose filtered grey is 100 more."""
    record = FrameRecord(index=index, pts_seconds=index / 25, filter_ms=1.0, change=100.0, **figures)
    preview.see(record, grey_frame(index, index=index, size=size), grey_frame(index + 100, index=index, size=size))


@pytest.fixture(scope="session")
def show() -> Callable[..., None]:
    """`show(preview, index, …)`: `look`."""
    return look


@pytest.fixture(scope="module")
def preview() -> Iterator[Preview]:
    """One that several tests ask; it has been shown no frame."""
    with Preview(title="in.mp4", subtitle="smooth fp32") as served:
        yield served


@pytest.fixture(scope="session")
def ask() -> Callable[..., tuple[http.client.HTTPResponse, bytes]]:
    """`ask(preview, path, …)` gives the answer and its body; the path is sent as it stands."""

    def request(
        preview: Preview,
        path: str,
        *,
        method: str = "GET",
        host: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        where = urlsplit(preview.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
        try:
            connection.request(method, path, headers=(headers or {}) | ({} if host is None else {"Host": host}))
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    return request


@pytest.fixture(scope="session")
def playing() -> Callable[..., Any]:
    """`with playing(preview):` shows a new frame every few milliseconds, from another thread, as a job does."""

    @contextmanager
    def frames(preview: Preview, **figures: Any) -> Iterator[None]:
        stop = threading.Event()

        def work() -> None:
            index = 0
            while not stop.wait(0.005):
                look(preview, index % 100, **figures)
                preview.state(done=index, total=1000, fps=200.0, speed=8.0)
                index += 1

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    return frames
