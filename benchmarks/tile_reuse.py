"""What it is worth not to filter unchanged tiles again: python benchmarks/tile_reuse.py [CLIP …].

The luma planes of each clip, decoded beforehand, go through one engine with and without reuse in turn; the engine alone
is timed, by the clock and by the processor's time, on which other work does not fall. Without a clip, one is made that
is like a screen: a page of text-like noise with a half that scrolls now and then and a blinking cursor. Every output is
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from postfilter.export import build_engine
from postfilter.runtime import Engine, TileReuse, load_engine


def main() -> int:
    arguments = _arguments()
    rows = []
    with tempfile.TemporaryDirectory(prefix="postfilter-benchmark-") as folder:
        path = arguments.engine
        if path is None:
            path = build_engine(arguments.model, precision=arguments.precision, output=Path(folder) / "engine").engine
        for clip in arguments.clips or [None]:
            planes = screen(arguments.frames) if clip is None else decode(clip, arguments.frames)
            with load_engine(path, bit_depth=8) as engine:
                rows.append({"clip": "made" if clip is None else clip.name} | measure(engine, planes, arguments))
    result = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "engine": str(path), "rows": rows}
    if arguments.json:
        print(json.dumps(result))
    else:
        for row in rows:
            print(
                f"{row['clip']}: {row['frames']} frames {row['size']}; reused {row['reused_share']:.1%}, "
                f"{row['moved_share']:.1%} from another place; "
                f"{row['ms_without']:.2f} ms a frame without, {row['ms_with']:.2f} with: {row['ratio']:.2f} times as "
                f"fast ({row['cpu_ratio']:.2f} by the processor's time), {row['first_ratio']:.2f} "
                f"the first time; {'identical' if row['identical'] else 'DIFFERENT'}"
                + (f"; {row['reason']}" if row["reason"] else "")
            )
    return 0 if all(row["identical"] for row in rows) else 1


def measure(engine: Engine, planes: list[NDArray[Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Time streams of all planes with and without reuse, in turn, after one round that compares the outputs."""
    for _ in engine.stream(planes[:1] * 4):
        pass
    reuse = TileReuse()
    identical, first_without, first_with = compare(engine, planes, reuse)
    ratios, cpu_ratios, without, with_reuse = [], [], [], []
    for number in range(arguments.rounds):
        times, cpu_times = {}, {}
        for used in (True, False) if number % 2 else (False, True):
            begin, cpu_begin = time.perf_counter(), time.process_time()
            for _ in engine.stream(planes, reuse=TileReuse() if used else None):
                pass
            cpu_times[used] = time.process_time() - cpu_begin
            times[used] = (time.perf_counter() - begin) / len(planes) * 1000
        ratios.append(times[False] / times[True])
        cpu_ratios.append(cpu_times[False] / cpu_times[True])
        without.append(times[False])
        with_reuse.append(times[True])
    return {
        "size": f"{planes[0].shape[3]}x{planes[0].shape[2]}",
        "frames": len(planes),
        "identical": identical,
        "reused_share": reuse.sum.reused / reuse.sum.total,
        "moved_share": reuse.sum.moved / reuse.sum.total,
        "reason": reuse.reason,
        "ms_without": statistics.median(without),
        "ms_with": statistics.median(with_reuse),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "cpu_ratio": statistics.median(cpu_ratios),
        "first_ratio": first_without / first_with,
    }


def compare(engine: Engine, planes: list[NDArray[Any]], reuse: TileReuse) -> tuple[bool, float, float]:
    """Return whether the outputs are the same, and the seconds of a stream without reuse and the first with."""
    begin = time.perf_counter()
    expected = list(engine.stream(planes))
    middle = time.perf_counter()
    got = list(engine.stream(planes, reuse=reuse))
    end = time.perf_counter()
    same = len(got) == len(expected) and all(map(np.array_equal, got, expected))
    return same, middle - begin, end - middle


def decode(path: Path, frames: int) -> list[NDArray[Any]]:
    """The luma of the first frames as [1, 1, H, W]."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
            found.append(rows[None, None, : frame.height, : frame.width].copy())
            if len(found) == frames:
                break
    return found


def screen(frames: int, width: int = 1280, height: int = 720) -> list[NDArray[Any]]:
    """A page whose right half scrolls for five frames in each second, and a cursor that blinks twice a second."""
    random = np.random.default_rng(0)
    text = np.where(random.random((4 * height, width // 4)) < 0.2, 40, 235).astype(np.uint8).repeat(4, axis=1)
    page, found, offset = text[:height].copy(), [], 0
    for number in range(frames):
        if number % 30 < 5:
            offset = (offset + 12) % (3 * height)
            page[:, width // 2 :] = text[offset : offset + height, width // 2 :]
        frame = page.copy()
        if number % 30 < 15:
            frame[400:416, 100:102] = 0
        found.append(frame[None, None])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="8-bit videos; a made clip where none is given")
    parser.add_argument("--engine", type=Path, help="an engine folder; else one is made of --model")
    parser.add_argument("--model", default="fastarcnn-luma")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--frames", type=int, default=120, help="of each clip, at most (default: 120)")
    parser.add_argument("--rounds", type=int, default=3, help="timed with and without reuse (default: 3)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
