"""Damage clips at random and filter them: no crash, no hang, no traceback, no lost frame, nothing left behind.

    python tests/video/fuzz_streams.py --variants 1000 --seconds 600 --seed 1 [FILE …]

Each variant runs in a worker process with a limit of time and of memory. A find prints the seed that makes it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np

__all__ = ["Find", "fuzz", "make_clips", "mutate"]

_LIMIT_SECONDS = 20.0
_LIMIT_GROWTH_MB = 600
"""More than 32 frames of the largest clip and every buffer take together; 16384x8192 in 4:2:0 is 200 MB a frame."""
_KINDS = (
    ("h264.mp4", "libx264", {"bf": "2", "g": "12"}),
    ("h264.mkv", "libx264", {"bf": "2", "g": "12"}),
    ("h264.ts", "libx264", {"bf": "2", "g": "12"}),
    ("h264.avi", "libx264", {"bf": "0", "g": "12"}),
    ("raw.h264", "libx264", {"g": "12"}),
    ("hevc.mp4", "libx265", {"x265-params": "log-level=none:keyint=12:pools=1"}),
    ("hevc.mkv", "libx265", {"x265-params": "log-level=none:keyint=12:pools=1"}),
    ("mpeg2.ts", "mpeg2video", {"g": "12"}),
    ("mpeg2.mpg", "mpeg2video", {"g": "12"}),
)


@dataclass(frozen=True)
class Find:
    """One variant that was not handled as it should be."""

    clip: str
    number: int
    what: str


def make_clips(folder: Path) -> list[Path]:
    """Write 30 frames of moving noise with a tone, once for each container and codec."""
    random = np.random.default_rng(0)
    ground = random.integers(0, 256, (96, 160), np.uint8)
    paths = []
    for name, codec, options in _KINDS:
        path = folder / name
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream(codec, rate=25, options=options)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            audio: Any = None if path.suffix == ".h264" else container.add_stream("mp2", rate=48000)
            for number in range(30):
                frame = av.VideoFrame(96, 64, "yuv420p")
                for index, plane in enumerate(frame.planes):
                    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                    rows[...] = 128 if index else 0
                    if not index:
                        rows[:64, :96] = ground[number : number + 64, number : number + 96]
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(video.encode(frame))
                if audio is not None:
                    _add_sound(container, audio, number)
            container.mux(video.encode(None))
            if audio is not None:
                container.mux(audio.encode(None))
        paths.append(path)
    return paths


def mutate(content: bytes, random: Random) -> bytes:
    """Return the content with one to three kinds of damage."""
    data = bytearray(content)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data))
        # Headers are short, and hit as often as everything else.
        at = at if random.random() < 0.7 else at % 1500
        length = min(random.choice((1, 4, 16, 200, 1500)), len(data) - at)
        kind = random.choice(("flip", "flip", "flip", "zero", "noise", "repeat", "drop", "cut", "head", "swap"))
        if kind == "flip":
            for _ in range(random.randint(1, 20)):
                where = min(len(data) - 1, at + random.randrange(1500))
                data[where] ^= 1 << random.randrange(8)
        elif kind == "zero":
            data[at : at + length] = bytes(length)
        elif kind == "noise":
            data[at : at + length] = random.randbytes(length)
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "drop":
            del data[at : at + length]
        elif kind == "cut":
            del data[max(100, at) :]
        elif kind == "head":
            del data[: min(at, len(data) - 100)]
        else:
            other = random.randrange(len(data))
            data[at : at + length], data[other : other + length] = (
                data[other : other + length],
                data[at : at + length],
            )
        if len(data) < 200:
            break
    return bytes(data)


def fuzz(
    clips: list[Path], folder: Path, engine: Path, *, variants: int, seed: int, seconds: float = 3600
) -> tuple[list[Find], Counter[str]]:
    """Run so many variants, or as long; return the finds, and how often each outcome came.

    Args:
        clips: what is damaged.
        folder: empty; variants and outputs go here.
        engine: the folder of an engine for luma.
        variants: how many.
        seed: the same gives the same variants.
        seconds: after which no more are begun.
    """
    finds: list[Find] = []
    outcomes: Counter[str] = Counter()
    until, number = time.monotonic() + seconds, 0
    while number < variants and time.monotonic() < until:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        task = (theirs, clips, folder, engine, number, variants, seed)
        worker = context.Process(target=_work, args=task, daemon=True)
        worker.start()
        theirs.close()
        patience = 60.0  # the first one starts Python and loads the engine
        while number < variants and time.monotonic() < until:
            clip = clips[number % len(clips)].name
            try:
                if not ours.poll(patience):
                    finds.append(Find(clip, number, f"hangs for over {patience:g} s"))
                    break
                outcome, find = ours.recv()
            except EOFError:
                worker.join(5)
                finds.append(Find(clip, number, f"the process ends with status {worker.exitcode}"))
                break
            patience = _LIMIT_SECONDS
            outcomes[outcome] += 1
            if find:
                finds.append(Find(clip, number, find))
            number += 1
        else:
            worker.kill()
            worker.join()
            break
        worker.kill()
        worker.join()
        number += 1
    return finds, outcomes


def _add_sound(container: Any, audio: Any, number: int) -> None:
    samples = np.sin(np.arange(1920) * 0.05 + number).astype(np.float32) * 8000
    frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 1920 * number, Fraction(1, 48000)
    container.mux(audio.encode(frame))


def _work(pipe: Any, clips: list[Path], folder: Path, engine_folder: Path, start: int, end: int, seed: int) -> None:
    from postfilter.runtime import load_engine

    engine = load_engine(engine_folder, threads=1)
    for number in range(start, end):
        clip = clips[number % len(clips)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome, find = "?", ""
        try:
            outcome, find = _one(clip, folder, engine, Random(seed * 1_000_003 + number))
        except Exception:
            find = traceback.format_exc(limit=-6)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        if not find and grown > _LIMIT_GROWTH_MB:
            find = f"takes {grown} MB"
        pipe.send((outcome, find))


def _one(clip: Path, folder: Path, engine: Any, random: Random) -> tuple[str, str]:
    from postfilter.errors import PostfilterError
    from postfilter.video import filter_video
    from postfilter.video.reading.source import Source

    for each in folder.iterdir():
        each.unlink()
    source = folder / f"variant{clip.suffix}"
    source.write_bytes(mutate(clip.read_bytes(), random))
    suffix = random.choice((clip.suffix, ".mkv", ".mp4")) if clip.suffix != ".h264" else ".mkv"
    target = folder / f"out{suffix}"
    frames, refused = 0, ""
    try:
        with Source(source) as reading:
            last = None
            for frame in reading.frames():
                if last is not None and frame.pts <= last:
                    return "finds", f"timestamp {frame.pts} after {last}"
                last, frames = frame.pts, frames + 1
            damaged = bool(reading.damage)
    except PostfilterError as error:
        refused = str(error)
    try:
        result = filter_video(source, target, engine, preset="ultrafast", overwrite=True, guard="off")
    except PostfilterError as error:
        if [each.name for each in folder.iterdir() if each != source]:
            return "finds", f"left behind: {[each.name for each in folder.iterdir()]} after {error}"
        if any(each in str(error) for each in ("report it", "cannot write", "refuses the filtered video")):
            return "finds", str(error)
        return ("refused to read" if refused else f"refused to write: {str(error)[:200]}"), ""
    if refused:
        return "finds", f"filtered although reading says: {refused}"
    written = _count(target)
    target.unlink()
    if not frames == result.frames_in == result.frames_out == written:
        return "finds", f"{frames} frames, {result.frames_in} in, {result.frames_out} out, {written} in the file"
    return "filtered, damaged" if damaged else "filtered", ""


def _count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def main() -> int:
    """Run from the command line; exit 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="files to damage (default: small ones, made on the spot)")
    parser.add_argument("--variants", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import SAME, write_engine_folder  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work"
        made = Path(name) / "clips"
        work.mkdir()
        made.mkdir()
        engine = write_engine_folder(Path(name) / "engine", kernel=SAME)
        finds, outcomes = fuzz(
            arguments.clips or make_clips(made), work, engine,
            variants=arguments.variants, seed=arguments.seed, seconds=arguments.seconds,
        )  # fmt: skip
    for each in finds:
        print(f"{each.clip}, variant {each.number}: {each.what}")  # noqa: T201
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")  # noqa: T201
    return bool(finds)


if __name__ == "__main__":
    raise SystemExit(main())
