"""Make every table of docs/quality.md and the picture of gain against speed.

  python benchmarks/quality.py --live1 LIVE1 --bsds500 BSDS500/test --clips CLIP [CLIP …]

Three parts: `images` (RGB models on pictures coded as JPEG), `video` (luma models on clips through x264 and x265) and
`pareto` (gain and frames a second of every luma model in every precision). What a part measured is kept in --work, by
the engine's graph, the data and the settings: a run that was stopped goes on, and a new model costs its own time alone.
Speed is kept too, and measured again with --fresh-speed. The page is written from what the work folder holds for these
settings: a part that was not run yet is left out, and so are models whose engine is of older code. --write-cards puts
the figures into the models' cards and prints the README's rows. Figures are `evaluate-model`'s, on OpenVINO engines.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from quality_cards import readme_row, write_card
from quality_page import page
from quality_parts import Cache, images_part, pareto_part, video_part
from quality_picture import draw

from postfilter import models
from postfilter.cli.options import parse_size
from postfilter.quality import METRICS, clip_files

PARTS = ("images", "video", "pareto")
JPEG_QUALITIES = (10, 20, 30, 40)
QPS = (22, 27, 32, 37, 42)
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
DOCS = Path(__file__).resolve().parents[1] / "docs"


def main() -> None:
    arguments = _arguments()
    cache = Cache(arguments.work, fresh=("speed",) if arguments.fresh_speed else ())
    luma, rgb = ([name for name in arguments.models if models.card(name).layout == each] for each in ("luma", "rgb"))
    folders = {name: getattr(arguments, name) for name in ("live1", "bsds500") if getattr(arguments, name)}
    clips = clip_files(arguments.clips) if arguments.clips else []

    def wanted(part: str) -> bool:
        return not arguments.only or part in arguments.only

    results: dict[str, Any] = {
        "images": images_part(cache, rgb, folders, qualities=JPEG_QUALITIES, measure=wanted("images")),
        "video": video_part(
            cache,
            luma,
            clips,
            codecs=arguments.codec,
            qps=arguments.qp,
            frames=arguments.frames,
            metrics=arguments.metrics,
            measure=wanted("video"),
        ),
        "pareto": pareto_part(
            cache,
            luma,
            clips,
            precisions=arguments.precisions,
            frames=arguments.frames,
            size=arguments.size,
            seconds=arguments.seconds,
            rounds=arguments.rounds,
            measure=wanted("pareto"),
        ),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    if results["pareto"]:
        draw(results["pareto"], arguments.output / "pareto.svg")
    # The folders are where they are on this machine, which helps no reader.
    words = ["python", "benchmarks/quality.py", *(Path(word).name if "/" in word else word for word in sys.argv[1:])]
    (arguments.output / "quality.md").write_text(page(results, command=shlex.join(words)))
    print(f"wrote {arguments.output / 'quality.md'}", file=sys.stderr)
    if arguments.write_cards:
        for name in arguments.models:
            if card := write_card(name, results):
                print(readme_row(name, card))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live1", type=Path, metavar="DIR", help="the 29 pictures of LIVE1")
    parser.add_argument("--bsds500", type=Path, metavar="DIR", help="the 200 test pictures of BSDS500")
    parser.add_argument("--clips", type=Path, nargs="+", metavar="CLIP", help="clean clips, or folders")
    parser.add_argument("--models", nargs="+", default=models.names(shipped=True), choices=models.names())
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts alone")
    parser.add_argument("--codec", nargs="+", choices=("h264", "hevc"), default=("h264", "hevc"))
    parser.add_argument("--qp", type=int, nargs="+", default=QPS, metavar="N")
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of each clip")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--size", type=parse_size, default=(1920, 1080), metavar="WxH", help="of the frames timed")
    parser.add_argument("--seconds", type=float, default=5.0, help="to time an engine for, each round")
    parser.add_argument("--rounds", type=int, default=3, help="in each of which all engines are timed; the best counts")
    parser.add_argument("--fresh-speed", action="store_true", help="time engines again")
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), metavar="DIR", help="what was measured")
    parser.add_argument("--output", type=Path, default=DOCS, metavar="DIR", help="where the page goes")
    parser.add_argument("--write-cards", action="store_true", help="write the figures into the models' cards")
    return parser.parse_args()


if __name__ == "__main__":
    main()
