"""What our engines are worth, against the plain export and against the machine: python benchmarks/engines.py.

All on OpenVINO's CPU:
1. fastarcnn at 480p: our fastest engine against the graph as PyTorch exports it in fp32.
2. Share of the machine's int8 peak that fastarcnn in int8 reaches at 480p: the multiply-accumulates that the model
   needs, not those that a rewrite adds, over the fastest of several large convolutions and a product in int8.
3. Frames a second of fastarcnn-luma at 1080p and of fastarcnn at 720p.
4. What a call costs outside the backend at 480p: the engine's call against OpenVINO's own on ready buffers.
5. Memory above the idle process at 1080p, with and without a memory limit, and the speed that the limit costs.

What is compared runs in one process in turn, A, B, A, B, so that what else the machine does falls on all alike; medians
of the rounds count. Precisions that cannot be built here are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from postfilter.errors import PostfilterError
from postfilter.export import build_engine
from postfilter.runtime import load_engine, measure_memory, measure_speed, read_manifest
from postfilter.runtime.ceiling import graph_tflops
from postfilter.runtime.engine import Engine
from postfilter.runtime.measure import sample_frames

P480, P720, P1080 = (720, 480), (1280, 720), (1920, 1080)
PLAIN = "plain fp32"
KINDS = {PLAIN: ("fp32", False), "fp16": ("fp16", True), "int8": ("int8", True)}
"""Name -> precision, whether the exact rewrites are applied."""
RATIO_GOAL, SHARE_GOAL, OVERHEAD_GOAL, MEMORY_GOAL_MB = 8.0, 0.6, 0.05, 50
FPS_GOALS = {"fastarcnn-luma": (P1080, 17.0), "fastarcnn": (P720, 25.0)}

Row = dict[str, Any]


def main() -> int:
    arguments = _arguments()
    result: Row = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "missing": {}}
    with ExitStack() as stack:
        folder = arguments.engines or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postfilter-")))
        built = {model: engines_of(model, folder, result["missing"]) for model in FPS_GOALS}
        result["rewritten"] = against_plain(built["fastarcnn"], arguments)
        result["peak"] = share_of_peak(built["fastarcnn"], arguments)
        result["speed"] = {model: speed(built[model], size, arguments) for model, (size, _) in FPS_GOALS.items()}
        result["overhead"] = overhead(built["fastarcnn-luma"], arguments)
        result["memory"] = {model: memory(built[model], arguments) for model in FPS_GOALS}
        result["possible_ratio"] = possible_ratio(built["fastarcnn"], result)
    result["goals"] = goals(result)
    print(json.dumps(result) if arguments.json else rendered(result))
    return 0 if all(goal["met"] for goal in result["goals"]) or not arguments.strict else 1


def engines_of(model: str, folder: Path, missing: dict[str, str]) -> dict[str, Path]:
    """Kind -> engine folder, built where it is not there yet. What cannot be built goes to `missing`."""
    found = {}
    for kind, (precision, rewrite) in KINDS.items():
        target = folder / f"{model}-{kind.replace(' ', '-')}"
        try:
            if not target.is_dir():
                print(f"making {target.name}", file=sys.stderr)
                build_engine(model, precision=precision, output=target, rewrite=rewrite)  # type: ignore[arg-type]
            found[kind] = target
        except PostfilterError as error:
            missing[target.name] = str(error)
    return found


def best_of(engines: Mapping[str, Path]) -> str:
    """The kind that is expected to be the fastest."""
    return next(kind for kind in reversed(KINDS) if kind in engines)


@contextmanager
def opened(engines: Mapping[str, Path], **options: Any) -> Iterator[dict[str, Engine]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(load_engine(folder, **options)) for kind, folder in engines.items()}


def in_turn(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Do each work once a round; return what each told, round by round."""
    told: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            told[name].append(work())
    return told


def fps_work(engine: Engine, size: tuple[int, int], seconds: float) -> Callable[[], float]:
    width, height = size
    return lambda: measure_speed(engine, width=width, height=height, seconds=seconds).fps


def against_plain(engines: Mapping[str, Path], arguments: argparse.Namespace) -> Row:
    with opened(engines) as loaded:
        works = {kind: fps_work(engine, P480, arguments.seconds) for kind, engine in loaded.items()}
        told = in_turn(works, arguments.rounds)
        ran = {kind: engine.execution(width=P480[0], height=P480[1]).precision_run for kind, engine in loaded.items()}
    fps = {kind: statistics.median(each) for kind, each in told.items()}
    best = max((kind for kind in fps if kind != PLAIN), key=lambda kind: fps[kind])
    ratios = [ours / plain for ours, plain in zip(told[best], told[PLAIN], strict=True)]
    return {"fps": fps, "precision_run": ran, "best": best, "ratio": statistics.median(ratios), "ratios": ratios}


def share_of_peak(engines: Mapping[str, Path], arguments: argparse.Namespace) -> Row | None:
    if "int8" not in engines:
        return None
    flop = needed_flop(engines["int8"], P480)
    ran = set()

    def peak() -> float:
        precision, rate = graph_tflops("openvino", "int8", device="CPU", seconds=arguments.seconds)
        ran.add(precision)
        return rate

    fastest: list[float] = []

    def reached() -> float:
        told = measure_speed(loaded["int8"], width=P480[0], height=P480[1], seconds=arguments.seconds)
        fastest.append(told.fastest_ms)
        return flop * told.fps / 1e12

    with opened({"int8": engines["int8"]}) as loaded:
        told = in_turn({"peak": peak, "engine": reached}, arguments.rounds)
    shares = [rate / most for rate, most in zip(told["engine"], told["peak"], strict=True)]
    return {
        "precision_run": sorted(ran),
        "peak_tflops": max(told["peak"]),
        "engine_tflops": statistics.median(told["engine"]),
        "share": statistics.median(shares),
        "shares": shares,
        # Both at their best, whatever else ran: a peak is the fastest run of some milliseconds, a rate a mean.
        "fastest_frame_share": flop / min(fastest) / 1e9 / max(told["peak"]),
    }


def possible_ratio(engines: Mapping[str, Path], result: Row) -> float | None:
    """How many times as fast as the plain export an engine of the same arithmetic could be at the int8 peak."""
    if result["peak"] is None:
        return None
    most_fps = result["peak"]["peak_tflops"] * 1e12 / needed_flop(engines["int8"], P480)
    return float(most_fps / result["rewritten"]["fps"][PLAIN])


def needed_flop(engine: Path, size: tuple[int, int]) -> float:
    """FLOP that the model needs for a frame, 2 a multiply-accumulate."""
    return float(2e3 * read_manifest(engine).cost["kmac_per_px"] * size[0] * size[1])


def speed(engines: Mapping[str, Path], size: tuple[int, int], arguments: argparse.Namespace) -> Row:
    with opened({kind: folder for kind, folder in engines.items() if kind != PLAIN}) as loaded:
        works = {kind: fps_work(engine, size, arguments.seconds) for kind, engine in loaded.items()}
        told = in_turn(works, arguments.rounds)
    fps = {kind: statistics.median(each) for kind, each in told.items()}
    return {"size": list(size), "fps": fps, "best_fps": max(fps.values())}


def overhead(engines: Mapping[str, Path], arguments: argparse.Namespace) -> Row:
    """Of each kind, the fastest call of either: what other programs take hides a difference of microseconds."""
    found = {}
    for kind in engines.keys() - {PLAIN}:
        with load_engine(engines[kind]) as engine:
            picture = sample_frames(engine, width=P480[0], height=P480[1], count=1)[0]
            works = {"engine": lambda: engine(picture), "backend": bare_call(engines[kind], picture)}  # noqa: B023
            told = in_turn({name: timed(work) for name, work in works.items()}, 20 * arguments.rounds)
        ours, bare = min(told["engine"]), min(told["backend"])
        found[kind] = {"call_ms": ours, "backend_ms": bare, "share": ours / bare - 1}
    return found


def bare_call(folder: Path, picture: Any) -> Callable[[], object]:
    """OpenVINO's own call on buffers that are ready, of the same graph compiled with the same options."""
    import openvino

    core, manifest = openvino.Core(), read_manifest(folder)
    model = core.read_model(folder / "model.onnx")
    model.reshape(list(picture.shape))
    config = {"PERFORMANCE_HINT": "LATENCY"}
    if "fp32" in (manifest.precision, manifest.precision_run):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    request = core.compile_model(model, manifest.device, config).create_infer_request()
    # A tensor that shares an array's memory does not keep the array alive: the call below does.
    arrays = picture, np.empty_like(picture)
    request.set_input_tensor(openvino.Tensor(arrays[0], shared_memory=True))
    request.set_output_tensor(openvino.Tensor(arrays[1], shared_memory=True))
    return lambda: (request.infer(), arrays)


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """`work`, telling its milliseconds; the first run, which allocates, is done now."""
    work()

    def run() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1e3

    return run


def memory(engines: Mapping[str, Path], arguments: argparse.Namespace) -> Row:
    kind, (width, height) = best_of(engines), P1080
    choices: dict[str, Row] = {"whole": {"piece": "whole"}, "limited": {"memory_limit_mb": MEMORY_GOAL_MB}}
    found: Row = {"kind": kind}
    with ExitStack() as stack:
        works = {}
        for name, options in choices.items():
            found[name] = {"peak_mb": measure_memory(engines[kind], width=width, height=height, **options).peak_mb}
            engine = stack.enter_context(load_engine(engines[kind], **options))
            works[name] = timed_calls(engine, P1080, arguments.seconds)
            found[name]["piece"] = engine.piece_for(width=width, height=height)
        told = in_turn(works, arguments.rounds)
    for name in choices:
        found[name]["call_ms"] = statistics.median(told[name])
    return found


def timed_calls(engine: Engine, size: tuple[int, int], seconds: float) -> Callable[[], float]:
    """Single calls for half of `seconds`; their median in milliseconds."""
    picture = sample_frames(engine, width=size[0], height=size[1], count=1)[0]
    call = timed(lambda: engine(picture))

    def run() -> float:
        times, begin = [call()], time.perf_counter()
        while time.perf_counter() - begin < seconds / 2:
            times.append(call())
        return statistics.median(times)

    return run


def goals(result: Row) -> list[Row]:
    """Every goal with what was reached; one whose engine is missing is missed."""

    def goal(name: str, reached: float | None, wanted: float, *, below: bool = False) -> Row:
        met = reached is not None and (reached < wanted if below else reached >= wanted)
        return {"name": name, "reached": reached, "goal": wanted, "met": met}

    peak = result["peak"]
    rows = [
        goal("fastarcnn 480p, times as fast as the plain export in fp32", result["rewritten"]["ratio"], RATIO_GOAL),
        goal("fastarcnn 480p int8, share of the machine's int8 peak", peak and peak["share"], SHARE_GOAL),
    ]
    for model, (size, wanted) in FPS_GOALS.items():
        rows.append(goal(f"{model} {size[1]}p, frames a second", result["speed"][model]["best_fps"], wanted))
    most = max((each["share"] for each in result["overhead"].values()), default=None)
    rows.append(goal("call overhead outside the backend at 480p", most, OVERHEAD_GOAL, below=True))
    for model, each in result["memory"].items():
        name = f"{model} 1080p, MB above the idle process"
        rows.append(goal(name, each["limited"]["peak_mb"], MEMORY_GOAL_MB, below=True))
    return rows


def rendered(result: Row) -> str:
    lines = [f"{result['cpus']} cores, load before: {result['load']:.1f}"]
    lines += [f"  left out: {name}: {reason}" for name, reason in result["missing"].items()]
    told = result["rewritten"]
    lines.append("fastarcnn 480p: " + ", ".join(f"{kind} {fps:.1f} fps" for kind, fps in told["fps"].items()))
    if peak := result["peak"]:
        figures = f"{peak['engine_tflops']:.2f} of {peak['peak_tflops']:.2f} TFLOPS, "
        figures += f"{peak['fastest_frame_share']:.0%} in the fastest frame"
        lines.append(f"int8 peak, run in {' and '.join(peak['precision_run'])}: {figures}")
        lines.append(
            f"at that peak fastarcnn would be {result['possible_ratio']:.1f} times as fast as the plain export"
        )
    for model, each in result["speed"].items():
        figures = ", ".join(f"{kind} {fps:.1f} fps" for kind, fps in each["fps"].items())
        lines.append(f"{model} {each['size'][1]}p: {figures}")
    for kind, each in result["overhead"].items():
        lines.append(f"call of fastarcnn-luma {kind}: {each['call_ms']:.2f} ms, OpenVINO's {each['backend_ms']:.2f} ms")
    for model, each in result["memory"].items():
        parts = [
            f"{name} {each[name]['peak_mb']:.0f} MB {each[name]['call_ms']:.1f} ms"
            + (" in pieces of {}x{}".format(*each[name]["piece"]) if each[name]["piece"] else "")
            for name in ("whole", "limited")
        ]
        lines.append(f"{model} 1080p {each['kind']}: {', '.join(parts)}")
    lines.append("")
    for goal in result["goals"]:
        reached = "missing" if goal["reached"] is None else f"{goal['reached']:.3g}"
        lines.append(f"  {goal['name']}: {reached} (goal {goal['goal']:g}): {'yes' if goal['met'] else 'NO'}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=Path, help="folder to keep the engines in, and to take them from")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each engine in each round")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a goal is missed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
