"""What PyAV alone reads from a file, and how an output differs from its input: no part of postfilter is used."""

from __future__ import annotations

import hashlib
import itertools
import re
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

__all__ = ["Reading", "differences"]

_OLD = ("encoder", "major_brand", "minor_version", "compatible_brands", "bps", "number_of_", "duration", "_statistics_")
_OLD += ("vendor_id", "creation_time")
_CARRIED = ("DISPLAYMATRIX", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")


@dataclass
class Track:
    """One track: what it is, and its packets where it is not the one that is decoded."""

    kind: str
    codec: str
    disposition: int
    metadata: dict[str, str]
    tick: Fraction
    packets: list[tuple[Fraction | None, bytes]] = field(default_factory=list)


class Reading:
    """A file, read with what every decoder does on its way over damage: errors are skipped and counted."""

    def __init__(self, path: Path) -> None:
        self.errors = 0
        self.seconds: list[Fraction | None] = []
        self.pictures: list[str] = []
        self.interlaced: list[bool] = []
        self.sizes: set[tuple[int, int, str]] = set()
        self.side_data: dict[str, bytes] = {}
        with av.open(str(path), metadata_errors="replace") as container:
            self.container = container.format.name
            self.metadata = _kept(container.metadata)
            self.chapters = [
                (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"].get("title", ""))
                for c in container.chapters()
                if c["time_base"]
            ]
            self.start = Fraction(container.start_time or 0, 1_000_000)
            self.tracks = [_track(each) for each in container.streams]
            self.attachments = [(each.name, each.data) for each in container.streams if each.type == "attachment"]
            picture = av.stream.Disposition.attached_pic
            video = next(each for each in container.streams.video if not each.disposition & picture)
            self.video = video.index
            self.tick = video.time_base or Fraction(1, 90000)
            # One thread: what decoders with several make of damaged frames depends on the moment.
            video.thread_type, video.thread_count = "SLICE", 1
            self._read(container, video)
            context = video.codec_context
            self.aspect = video.sample_aspect_ratio or self.aspect
            self.codec, self.field_order = context.name, str(context.field_order)

    def _read(self, container: Any, video: Any) -> None:
        packets = iter(container.demux())
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError, ValueError):
                self.errors += 1
                return
            if packet.stream.index != video.index:
                if packet.size:
                    pts = None if packet.pts is None else packet.pts * packet.time_base
                    self.tracks[packet.stream.index].packets.append((pts, bytes(packet)))
                continue
            if not packet.size and packet.dts is not None:
                continue
            try:
                frames = video.decode(packet)
            except (av.FFmpegError, OSError, ValueError):
                self.errors += 1
                continue
            for frame in frames:
                self._see(frame)

    def _see(self, frame: Any) -> None:
        if not self.pictures:
            self.tags = tuple(int(getattr(frame, name)) for name in ("colorspace", "color_trc", "color_primaries"))
            self.full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
            self.format = frame.format.name.replace("yuvj", "yuv")
            self.rotation = frame.rotation
            self.aspect = _aspect(frame)
            with warnings.catch_warnings():
                try:
                    self.side_data = {each.type.name: bytes(each) for each in frame.side_data}
                except ValueError:
                    self.side_data = {"?": b""}
        digest = hashlib.sha256()
        for plane in frame.planes:
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            wide = plane.width * (2 if frame.format.components[0].bits > 8 else 1)
            digest.update(np.ascontiguousarray(rows[: plane.height, :wide]))
        self.pictures.append(digest.hexdigest())
        self.sizes.add((frame.width, frame.height, frame.format.name))
        pts = frame.pts if frame.pts is not None else frame.dts
        self.seconds.append(None if pts is None else pts * (frame.time_base or self.tick))
        self.interlaced.append(frame.interlaced_frame)


def differences(before: Reading, after: Reading, *, lossless: bool = True) -> list[str]:
    """Say in what the output is not what the input was. Empty: everything that counts is kept."""
    found: list[str] = []

    def expect(what: str, old: Any, new: Any) -> None:
        if old != new:
            found.append(f"{what}: {str(old)[:300]} -> {str(new)[:300]}")

    expect("frames", len(before.pictures), len(after.pictures))
    if lossless:
        other = [i for i, (a, b) in enumerate(zip(before.pictures, after.pictures, strict=False)) if a != b]
        expect("frames with other samples", [], other[:10])
        expect("interlaced", before.interlaced, after.interlaced)
    tick = max(before.tick, after.tick) / 2
    offset = before.start - after.start if before.container in ("mpegts", "mpeg") else Fraction(0)
    negative = any(at is not None and at < 0 for t in before.tracks for at, _ in t.packets)
    if before.container != after.container and (offset or (negative and after.container.startswith("matroska"))):
        # The clock of a broadcast starts anywhere, and Matroska has no times before 0: there everything is moved by
        # the same, and what counts is where frames are beside the other tracks.
        pairs = [(a, b) for a, b in zip(before.seconds, after.seconds, strict=False) if a is not None and b is not None]
        offset = pairs[0][0] - pairs[0][1] if pairs else Fraction(0)
    late = [
        (i, float(a), float(b + offset))
        for i, (a, b) in enumerate(zip(before.seconds, after.seconds, strict=False))
        if a is not None and b is not None and abs(a - b - offset) > tick
    ]
    expect(f"times over {float(tick):.5f} s ({len(late)} frames)", [], late[:8])
    expect("format", before.format, after.format)
    expect("sizes", {each[:2] for each in before.sizes}, {each[:2] for each in after.sizes})
    expect("colour tags", before.tags, after.tags)
    expect("full range", before.full, after.full)
    expect("sample aspect", before.aspect, after.aspect)
    expect("rotation", before.rotation, after.rotation)
    for name in _CARRIED if after.codec != "ffv1" else _CARRIED[:1]:
        old, new = before.side_data.get(name), after.side_data.get(name)
        if name == "DISPLAYMATRIX" and after.container.startswith("matroska") and old and new:
            old, new = old[:20], new[:20]  # Matroska keeps the angle, and no offset
        expect(name, old, new)
    expect("attachments", before.attachments, after.attachments)
    expect("metadata", {}, {k: v for k, v in before.metadata.items() if after.metadata.get(k) != v})
    chapters = [(round(float(a - offset), 2), round(float(b - offset), 2), t) for a, b, t in before.chapters]
    expect("chapters", chapters, [(round(float(a), 2), round(float(b), 2), t) for a, b, t in after.chapters])
    _compare_tracks(before, after, offset, expect)
    return found


def _compare_tracks(before: Reading, after: Reading, offset: Fraction, expect: Any) -> None:
    ours = [t for i, t in enumerate(before.tracks) if t.kind != "attachment"]
    theirs = [t for i, t in enumerate(after.tracks) if t.kind != "attachment"]
    expect("tracks", [(t.kind, t.disposition) for t in ours], [(t.kind, t.disposition) for t in theirs])
    for number, (old, new) in enumerate(zip(ours, theirs, strict=False)):
        lost = {k: v for k, v in old.metadata.items() if new.metadata.get(k) != v}
        expect(f"metadata of track {number}", {}, lost)
        expect(f"packets of track {number}", len(old.packets), len(new.packets))
        other = [i for i, (a, b) in enumerate(zip(old.packets, new.packets, strict=False)) if a[1] != b[1]]
        expect(f"packets of track {number} with other bytes", [], other[:10])
        tick = max(old.tick, new.tick) / 2
        late = [
            (i, float(a), float(b + offset))
            for i, ((a, _), (b, _)) in enumerate(zip(old.packets, new.packets, strict=False))
            if a is not None and b is not None and abs(a - b - offset) > tick
        ]
        expect(f"times of track {number} over {float(tick):.5f} s ({len(late)})", [], late[:8])


def _track(stream: Any) -> Track:
    context = stream.codec_context
    metadata = {k: v for k, v in _kept(stream.metadata).items() if k not in ("handler_name", "filename", "mimetype")}
    tick = stream.time_base or Fraction(1, 1000)
    return Track(stream.type, context.name if context else "", int(stream.disposition), metadata, tick)


def _aspect(frame: Any) -> Fraction:
    """The shape of a sample that the frame itself tells; PyAV shows that of containers alone."""
    graph = av.filter.Graph()
    steps = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))]
    steps += [graph.add("showinfo"), graph.add("buffersink")]
    for first, second in itertools.pairwise(steps):
        first.link_to(second)
    level = av.logging.get_level()
    try:
        av.logging.set_level(av.logging.INFO)
        with av.logging.Capture() as messages:
            graph.configure()
            graph.push(frame)
            graph.pull()
    finally:
        av.logging.set_level(level)
    found = [match for _, _, text in messages if (match := re.search(r" sar:(\d+)/(\d+) ", text))]
    return Fraction(int(found[0][1]) or 1, int(found[0][2]) or 1) if found else Fraction(1)


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    kept = {key.lower(): value for key, value in metadata.items() if not key.lower().startswith(_OLD)}
    for key, value in list(kept.items()):
        if key.startswith("location"):  # a place on earth, in degrees
            kept[key] = re.sub(r"([+-])0*(\d)", r"\1\2", value)
    for key, value in list(kept.items()):
        if (key, value) == ("language", "und"):  # Matroska has no word for that
            del kept[key]
        elif re.fullmatch(r".*-[a-z]{3}", key) and kept.get(key[:-4]) == value:
            del kept[key]  # the same once more, under a language, of which containers have different names
    return kept
