"""What the frame path makes of an engine's speed, and whether it stays that way: python benchmarks/throughput.py.

Four questions, each answered by one run of the real pipeline against its own parts on the same clip:

- end to end: decode H.264, filter, encode with x264 veryfast, against the parts alone;
- with no encoder: how much is reached of the engine's own rate less the decoder's measured share;
- with --screen CLIP …: what it is worth not to filter again what did not change, end to end and with no encoder;
- over very many frames: whether memory grows.

The 480p clip is made here (see end_to_end.py); give others with --clip.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil
from end_to_end import make_clip, stage_rates

from postfilter.export import build_engine
from postfilter.runtime import Engine, load_engine
from postfilter.runtime.backend import usable_cores
from postfilter.video import Frame, filter_video
from postfilter.video.filtering.planes import planes_for
from postfilter.video.reading.source import Source

GOAL_NULL_SHARE = 0.9


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="postfilter-benchmark-") as folder:
        work = Path(folder)
        built = build_engine(arguments.model, precision=arguments.precision, output=work / "engine")
        clips = [make_clip(work / "made 720x480.mp4", frames=arguments.frames), *arguments.clip]
        with load_engine(built.engine) as engine:
            rows = [measure(clip, engine, work, arguments.repeat) for clip in clips]
            screens = [measure_screen(clip, engine, work, arguments.repeat) for clip in arguments.screen]
            memory = memory_over(clips[0], built.engine, work, frames=arguments.memory_frames)
    result = {
        "model": arguments.model,
        "precision": arguments.precision,
        "clips": rows,
        "screens": screens,
        "memory": memory,
    }
    result["load"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(result))
    else:
        render(result)
    return 0


def measure(clip: Path, engine: Engine, work: Path, repeat: int) -> dict[str, Any]:
    """The parts alone and the whole, in turns; the fastest of each counts."""
    parts: list[dict[str, float]] = []
    for _ in range(repeat):
        decode_fps, encode_fps = stage_rates(clip, work / "encoded.mp4")
        whole = filter_video(clip, work / "filtered.mp4", engine, overwrite=True)
        null = filter_video(clip, None, engine)
        cpu_ms, engine_fps = decode_cpu_ms(clip), engine_alone_fps(clip, engine)
        parts.append(
            {
                "decode_fps": decode_fps,
                "engine_fps": engine_fps,
                "encode_fps": encode_fps,
                "end_to_end_fps": whole.fps,
                "share_of_limit": whole.limits.share,
                "null_fps": null.fps,
                # What the decoder takes of the cores, the engine does not get.
                "null_bound_fps": 1000 / (1000 / engine_fps + cpu_ms / usable_cores(None)),
            }
        )
    best = {key: max(each[key] for each in parts) for key in parts[0]}
    best["null_bound_fps"] = max(each["null_bound_fps"] for each in parts)
    return (
        {"clip": clip.name, "frames": whole.frames_in, "size": f"{whole.width}x{whole.height}"}
        | best
        | {
            "null_share": best["null_fps"] / best["null_bound_fps"],
            "slowest": whole.limits.slowest,
        }
    )


def measure_screen(clip: Path, engine: Engine, work: Path, repeat: int) -> dict[str, Any]:
    """The clip with and without reuse in turns, encoded and not; the fastest of each counts."""
    best: dict[str, float] = {}
    for _ in range(repeat):
        for reuse in (False, True):
            for name, target in (("end_to_end", work / "screen.mkv"), ("null", None)):
                result = filter_video(clip, target, engine, tile_reuse=reuse, overwrite=True)
                key = f"{name}_fps{'_reuse' if reuse else ''}"
                best[key] = max(best.get(key, 0.0), result.fps)
    return {
        "clip": clip.name,
        "reused": result.tiles.reused / result.tiles.total,
        **best,
        "end_to_end_ratio": best["end_to_end_fps_reuse"] / best["end_to_end_fps"],
        "null_ratio": best["null_fps_reuse"] / best["null_fps"],
    }


def engine_alone_fps(clip: Path, engine: Engine) -> float:
    """Frames a second of `Engine.stream` on planes that lie decoded in memory."""
    with Source(clip) as source:
        taken = planes_for(source.info, engine)
        planes = []
        for picture in source.frames():
            planes.append(taken.take(Frame.from_av(picture, colour=source.info.colour)).copy())
            if len(planes) == 100:
                break
    for _ in engine.stream(planes[:3]):
        pass
    started = time.perf_counter()
    for _ in engine.stream(planes):
        pass
    return len(planes) / (time.perf_counter() - started)


def decode_cpu_ms(clip: Path) -> float:
    """CPU time of decoding one frame, all threads together."""
    with Source(clip) as source:
        started = time.process_time()
        frames = sum(1 for _ in source.frames())
        return 1000 * (time.process_time() - started) / frames


def memory_over(clip: Path, engine: Path, work: Path, *, frames: int) -> dict[str, float]:
    """Resident memory of the command while a clip is repeated to very many frames, after a tenth of the time and on."""
    long = repeated(shrunk(clip, work / "small.mp4"), work / "long.mp4", frames=frames)
    command = [sys.executable, "-m", "postfilter", "filter-video", long, work / "long-filtered.mp4"]
    running = subprocess.Popen([*command, "--engine", engine, "--json", "--quiet"], stdout=subprocess.PIPE)
    process, seen = psutil.Process(running.pid), []
    while running.poll() is None:
        with suppress(psutil.Error):
            seen.append(process.memory_info().rss / 2**20)
        time.sleep(0.1)
    told = json.loads(running.communicate()[0])
    tenth = len(seen) // 10
    return {
        "frames": told["frames_out"],
        "after_a_tenth_mb": max(seen[: tenth + 1]),
        "growth_mb": max(seen[tenth:]) - max(seen[: tenth + 1]),
    }


def shrunk(clip: Path, target: Path) -> Path:
    """The clip at 192x128, so that very many frames take minutes and not hours."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            small = frame.reformat(width=192, height=128)
            small.pts, small.time_base, small.pict_type = number, Fraction(1, 30), 0
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))
    return target


def repeated(clip: Path, target: Path, *, frames: int) -> Path:
    """The clip's video packets over and over, with timestamps that go on."""
    with av.open(str(clip)) as source:
        template = source.streams.video[0]
        packets = [each for each in source.demux(template) if each.size]
        length = max(each.pts for each in packets) + packets[0].duration - min(each.pts for each in packets)
        with av.open(str(target), "w") as container:
            stream = container.add_stream_from_template(template)
            for turn in range(-(-frames // len(packets))):
                for packet in packets:
                    again = av.Packet(bytes(packet))
                    again.pts, again.dts = packet.pts + turn * length, packet.dts + turn * length
                    again.duration, again.time_base = packet.duration, packet.time_base
                    again.is_keyframe, again.stream = packet.is_keyframe, stream
                    container.mux(again)
    return target


def render(result: dict[str, Any]) -> None:
    print(f"{result['model']} {result['precision']}, {usable_cores(None)} cores (load before: {result['load']:.1f})")
    for row in result["clips"]:
        print(f"{row['clip']}: {row['frames']} frames of {row['size']}")
        print(
            f"  alone: decode {row['decode_fps']:.0f}, engine {row['engine_fps']:.1f}, "
            f"encode {row['encode_fps']:.0f} fps"
        )
        print(
            f"  end to end {row['end_to_end_fps']:.1f} fps, {row['share_of_limit']:.0%} of what its slowest resource "
            f"({row['slowest']}) allows"
        )
        met = "" if row["null_share"] >= GOAL_NULL_SHARE else f": BELOW {GOAL_NULL_SHARE:.0%}"
        print(
            f"  no encoder {row['null_fps']:.1f} fps, {row['null_share']:.0%} of the engine's rate less the decoder's "
            f"share ({row['null_bound_fps']:.1f}){met}"
        )
    for row in result["screens"]:
        print(f"{row['clip']}: {row['reused']:.0%} of the picture not filtered again")
        for name, what in (("end_to_end", "end to end"), ("null", "no encoder")):
            with_reuse, without, ratio = (row[f"{name}_{each}"] for each in ("fps_reuse", "fps", "ratio"))
            print(f"  {what} {with_reuse:.0f} fps, {without:.1f} with --no-tile-reuse: {ratio:.1f} times as fast")
    memory = result["memory"]
    print(
        f"memory over {memory['frames']} frames of 192x128: {memory['after_a_tenth_mb']:.0f} MB after a tenth, "
        f"{memory['growth_mb']:+.1f} MB after that"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fastarcnn-luma")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--clip", type=Path, nargs="*", default=[], help="more clips to measure with")
    parser.add_argument("--screen", type=Path, nargs="*", default=[], help="clips of which much stands still")
    parser.add_argument("--frames", type=int, default=150, help="of the made clip")
    parser.add_argument("--memory-frames", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=2, help="turns, of which the fastest counts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
