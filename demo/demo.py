"""A compressed clip comes out cleaner, with the figures that prove it: `make demo`, or python demo/demo.py."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(highlight=False)


def main() -> int:
    """Make a clip, an engine of the model, the filtered clip, a table and a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")
    parser.add_argument("--model", default="fastarcnn-luma", help="a luma model (default: fastarcnn-luma)")
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    parser.add_argument("--seconds", type=float, default=4, help="length of the clip (default: 4)")
    arguments = parser.parse_args()
    start = time.monotonic()
    arguments.output.mkdir(parents=True, exist_ok=True)

    from before_after import before_after
    from make_clip import make_clip

    say("Making a clip: photographs, panned by fractions of a sample; H.264 at a low bit rate, with a tone")
    clip = make_clip(arguments.output, seconds=arguments.seconds)
    console.print(f"  {clip.coded}  {clip.kbps:.0f} kbit/s, its clean source beside it", style="dim")

    say("An engine of the trained model, in half precision, verified against PyTorch")
    folder, filtered = arguments.output / "engine", arguments.output / "filtered.mp4"
    weights = ["--weights", str(arguments.weights)] if arguments.weights else []
    built = run("export-engine", arguments.model, "--fp16", *weights, "--output", str(folder))

    say("Every frame of the clip through it; the reference only tells how much was gained")
    files = [str(clip.coded), str(filtered)]
    done = run("filter-video", *files, "--engine", str(folder), "--reference", str(clip.source), "--overwrite")

    picture = arguments.output / "before-after.png"
    manifest = built["manifest"]
    engine = f"{manifest['model']}, {manifest['precision']}, {manifest['backend']}"
    title = f"{engine}: H.264 at {clip.kbps:.0f} kbit/s, before and after, enlarged"
    crops = before_after(clip.coded, filtered, clip.source, picture, title=title)
    console.print()
    console.print(table(built, done))
    best = max(crop.psnr_filtered - crop.psnr_decoded for crop in crops)
    console.print(f"\n[bold]Look at[/] {picture}  (crops side by side, enlarged; up to {best:+.2f} dB)")
    console.print(f"[bold]Play[/]    {clip.coded}  and  {filtered}")
    console.print(f"{time.monotonic() - start:.0f} s in all", style="dim")
    return 0


def say(what: str) -> None:
    """Announce a step."""
    console.print(f"\n[bold]{what}[/]")


def run(command: str, *arguments: str) -> dict[str, Any]:
    """Run one of the commands, shown as a person would type it, and return what it printed."""
    line = [command, *arguments, "--json"]
    console.print(f"$ {shlex.join(line)}", style="cyan", soft_wrap=True)
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", "postfilter", *line], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return dict(json.loads(done.stdout))


def table(built: dict[str, Any], done: dict[str, Any]) -> Table:
    """The figures, with their units."""
    manifest, quality, latency = built["manifest"], done["quality"], done["latency_ms"]
    cost, verification = manifest["cost"], manifest["verification"]
    rows = Table(show_header=False, box=None, padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_row("engine", f"{cost['params']:,} parameters, {cost['kmac_per_px']:.1f} kMAC/px")
    rows.add_row(
        "the same filter",
        f"{verification['psnr_db']:.1f} dB against PyTorch on {verification['frames']} frames, "
        f"at most {verification['max_abs_diff']} code values apart",
    )
    rows.add_row("clip", f"{done['frames_out']} frames of {done['width']}x{done['height']}, sound and timing kept")
    rows.add_row(
        "speed", f"[bold]{done['fps']:.1f} fps[/], {done['speed_x']:.2f} x real time: decode, filter and encode"
    )
    rows.add_row("stages", ", ".join(f"{name} {ms:.1f} ms" for name, ms in done["stages_ms"].items()) + " a frame")
    rows.add_row("latency", ", ".join(f"{name} {ms:.0f} ms" for name, ms in latency.items()))
    if done["tflops"] is not None:
        rows.add_row("achieved", f"{done['tflops']:.3f} TFLOPS")
    rows.add_row("memory", f"{done['peak_memory_mb']:.0f} MB at most")
    rows.add_row(
        "luma PSNR",
        f"{quality['psnr_decoded']:.2f} dB decoded, {quality['psnr_filtered']:.2f} dB filtered: "
        f"[bold green]{quality['delta_psnr']:+.2f} dB[/]",
    )
    return rows


if __name__ == "__main__":
    sys.exit(main())
