"""Clips with sound, senders and receivers on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 30


@pytest.fixture(scope="session")
def sounding(tmp_path_factory: pytest.TempPathFactory, photograph: NDArray[np.uint8]) -> Callable[..., Path]:
    """`sounding("mkv", frames=45)`: 96x64 at 30 a second, H.264 with B-frames, and AAC; each is made once."""
    folder, made = tmp_path_factory.mktemp("sounding"), dict[tuple[str, int], Path]()

    def make(suffix: str, *, frames: int = 45) -> Path:
        if (suffix, frames) not in made:
            made[suffix, frames] = _write(folder / f"in{frames}.{suffix}", frames, photograph)
        return made[suffix, frames]

    return make


def _write(path: Path, frames: int, photograph: NDArray[np.uint8]) -> Path:
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=RATE, options={"g": "15", "crf": "28", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio: Any = container.add_stream("aac", rate=48000, layout="mono")
        sound = 0
        for number in range(frames):
            view = photograph[60 + number % 100 :, 100 + 3 * (number % 90) :][:64, :96]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
            while sound / 48000 <= number / RATE:
                samples = np.sin(np.arange(sound, sound + 1024, dtype=np.float32) / 20)[None]
                each = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
                each.sample_rate, each.pts, each.time_base = 48000, sound, Fraction(1, 48000)
                container.mux(audio.encode(each))
                sound += 1024
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def send() -> Iterator[Callable[[Path, str], None]]:
    """`send(clip, url)`: forward a clip as it is, packet by packet at its own clock, from a thread."""
    threads = []

    def start(clip: Path, url: str) -> None:
        threads.append(threading.Thread(target=_send, args=(clip, url)))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _send(clip: Path, url: str) -> None:
    at_once = {"flush_packets": "1"}
    with av.open(str(clip)) as source, av.open(url, "w", format="mpegts", container_options=at_once) as target:
        tracks = {each.index: target.add_stream_from_template(each) for each in source.streams}
        started = time.monotonic()
        for packet in source.demux():
            if packet.dts is None:
                continue
            time.sleep(max(0.0, started + float(packet.dts * packet.time_base) - time.monotonic()))
            packet.stream = tracks[packet.stream.index]
            target.mux(packet)


class Receiver:
    """Takes a stream and remembers when each video packet came."""

    def __init__(self, url: str) -> None:
        self.packets = 0
        self.sound = 0
        self.delays: list[float] = []
        """Of each video packet: arrival less timestamp, in seconds from any beginning."""
        self.failure: BaseException | None = None
        self._url = url
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with av.open(self._url, timeout=(10.0, 2.0)) as source:
                for packet in source.demux():
                    if packet.pts is not None and packet.size:
                        self.packets += packet.stream.type == "video"
                        self.sound += packet.stream.type == "audio"
                        if packet.stream.type == "video":
                            self.delays.append(time.monotonic() - float(packet.pts * packet.time_base))
        except av.error.ExitError:
            pass  # silence
        except BaseException as error:
            self.failure = error

    def join(self) -> None:
        self._thread.join(15)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def receive() -> type[Receiver]:
    return Receiver
