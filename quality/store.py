"""Coded clips kept in a folder: encoding takes longest, and the same clips are coded for one model after another."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from postfilter.quality.codec import Packet

__all__ = ["CodedStore"]

_NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class CodedStore:
    """Bitstreams by the clip they were made of and all that decides what they are.

    Files are small, are written whole or not at all, and can be deleted at any time.
    """

    folder: Path

    def get(self, source: Path, **coding: Any) -> list[Packet] | None:
        """Return what was kept; None where nothing was, or where it is damaged.

        Args:
            source: the clip, known by its content.
            coding: what else decides the result, as JSON can hold it.
        """
        try:
            with np.load(self._path(source, coding), allow_pickle=False) as held:
                data, sizes, times = held["data"].tobytes(), held["sizes"].tolist(), held["times"].tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        packets: list[Packet] = []
        start = 0
        for size, (pts, dts) in zip(sizes, times, strict=True):
            packets.append((data[start : start + size], _time(pts), _time(dts)))
            start += size
        return packets

    def put(self, source: Path, packets: list[Packet], **coding: Any) -> None:
        """Keep what was coded; arguments as `get` takes them."""
        path = self._path(source, coding)
        path.parent.mkdir(parents=True, exist_ok=True)
        times = [[_NO_TIME if time is None else time for time in packet[1:]] for packet in packets]
        data = np.frombuffer(b"".join(packet[0] for packet in packets), np.uint8)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, data=data, sizes=[len(packet[0]) for packet in packets], times=np.array(times, np.int64))
        partial.replace(path)

    def _path(self, source: Path, coding: dict[str, Any]) -> Path:
        import av

        libraries = {"av": av.__version__, "avcodec": av.library_versions["libavcodec"]}
        key = json.dumps({"source": _digest(source), "libraries": libraries, **coding}, sort_keys=True)
        return self.folder / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npz"


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(1 << 20):  # hashlib.file_digest is not in Python 3.10
            found.update(block)
    return found.hexdigest()


def _time(value: int) -> int | None:
    return None if value == _NO_TIME else value
