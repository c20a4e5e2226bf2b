"""evaluate-model: what models or engines gain, on pictures coded as JPEG or on clips coded as video."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Command, Reporter
from postfilter.cli.evaluation_tables import render
from postfilter.cli.options import add_build_options, add_device_options, open_engine

if TYPE_CHECKING:
    from postfilter.runtime import Engine

__all__ = ["COMMAND", "main"]

_SUMMARY = """Measure what models or engines gain: PSNR, SSIM and PSNR-B on pictures, ΔPSNR and more on clips.

examples:
  evaluate-model fastarcnn --images photos/ --jpeg-quality 10 20 30 40
  evaluate-model fastarcnn-luma --clips clean/ --codec hevc --qp 37
  evaluate-model edge-m fastarcnn-luma --clips clean/ --codec h264 hevc --qp 22 27 32 37 42 --metrics psnr ssim xpsnr
  evaluate-model engines/fastarcnn-luma-dynamic-fp16-openvino --clips clean/*.mkv --codec h264 --qp 32 --frames 60
  evaluate-model fastarcnn --images tid2008/ --dataset tid2008

The pictures and clips are the clean ones: they are coded here, decoded, filtered, and both are compared with them; but
most sets of --dataset bring their coded files, which are taken as they are. RGB models are judged on the three channels
of pictures, luma models on the luma plane of pictures and clips. Clips are coded once for all models. A model that
reads the QP is told that of each frame on clips, and runs blind on pictures."""

_JPEG_QUALITIES = (10, 20, 30, 40)
_QP = 37
_FOR_IMAGES = ("jpeg_quality",)
_FOR_CLIPS = ("codec", "qp", "frames", "preset", "metrics", "blind", "keep_coded")


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="+",
        metavar="MODEL|ENGINE",
        help="a model's name, evaluated in fp32 unless asked otherwise, or an engine",
    )
    material = parser.add_mutually_exclusive_group(required=True)
    material.add_argument("--images", type=Path, metavar="DIR", help="clean pictures, to be coded as JPEG")
    material.add_argument(
        "--clips", type=Path, nargs="+", metavar="CLIP", help="clean clips or folders of them, 8-bit 4:2:0"
    )
    parser.add_argument(
        "--dataset",
        choices=("liu4k", "mcl-jci", "mcl-jcv", "tid2008"),
        help="the folder of --images (mcl-jcv: of --clips) holds this set as it was published",
    )
    parser.add_argument(
        "--jpeg-quality",
        type=int,
        nargs="+",
        metavar="Q",
        help=f"OpenCV's JPEG qualities (default: {' '.join(map(str, _JPEG_QUALITIES))}); of mcl-jci and tid2008 the "
        "set's own levels (default: all)",
    )
    parser.add_argument(
        "--codec", choices=("h264", "hevc"), nargs="+", help="x264 or x265, for --clips (default: hevc)"
    )
    parser.add_argument("--qp", type=int, nargs="+", metavar="N", help=f"the encoder's constant QPs (default: {_QP})")
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of each clip (default: all)")
    parser.add_argument("--preset", metavar="NAME", help="the encoder's (default: medium)")
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=("psnr", "ssim", "xpsnr", "vmaf", "flicker"),
        help="what is measured on clips (default: psnr, which always is); ssim and flicker take about as long as a "
        "light filter",
    )
    parser.add_argument(
        "--blind",
        action="store_const",
        const=True,
        help="do not tell models that read the QP what it is; of clips, since pictures have none",
    )
    parser.add_argument(
        "--keep-coded", type=Path, metavar="DIR", help="keep coded clips there, and take those that are there already"
    )
    add_build_options(parser)
    add_device_options(parser)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    _check(arguments)
    with ExitStack() as stack:
        engines = [
            stack.enter_context(open_engine(name, arguments, bit_depth=8, on_step=reporter.note))
            for name in arguments.model
        ]
        names = _names(engines)
        result = (_on_images if arguments.images else _on_clips)(arguments, engines, names, reporter)
        about = [
            {"model": each.manifest.model, "precision": each.manifest.precision, "backend": each.manifest.backend}
            for each in engines
        ]
        told = [_told(each, arguments) if arguments.clips else [] for each in engines]
        methods = [
            {"method": name} | each | {"told": inputs} for name, each, inputs in zip(names, about, told, strict=True)
        ]
        return result | {"engine": about[0], "engines": methods}


def _names(engines: Sequence[Engine]) -> list[str]:
    """What each is called in the rows: its model's name, with what tells it from others where there are several."""
    models = Counter(engine.manifest.model for engine in engines)
    seen: Counter[str] = Counter()
    names = []
    for engine in engines:
        manifest = engine.manifest
        alone = models[manifest.model] == 1
        name = manifest.model if alone else f"{manifest.model} {manifest.precision} {manifest.backend}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return names


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense, and missing inputs, before an engine is built."""
    from postfilter.errors import InputError
    from postfilter.export import names_model
    from postfilter.models import card
    from postfilter.quality import DATASETS, check_coding, check_metrics, check_qualities, clip_files, image_files

    unused, other = (_FOR_CLIPS, "--clips") if arguments.images else (_FOR_IMAGES, "--images")
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name) is not None]
    if given:
        raise InputError(f"{', '.join(given)} belongs to {other}; leave it out or give {other}")
    if arguments.dataset and DATASETS[arguments.dataset] != ("images" if arguments.images else "clips"):
        wanted = DATASETS[arguments.dataset]
        raise InputError(f"{arguments.dataset} is a set of {wanted}; give its folder as --{wanted}")
    if arguments.images:
        check_qualities(arguments.jpeg_quality or ())
        if not arguments.dataset:
            image_files(arguments.images)
        elif not arguments.images.is_dir():
            raise InputError(f"{arguments.images} is not a folder; give the one in which {arguments.dataset} is")
        return
    coding = _coding(arguments)
    for codec in coding["codecs"]:
        for qp in coding["qps"]:
            check_coding(codec=codec, qp=qp, preset=coding["preset"], frames=coding["frames"])
    check_metrics(coding["metrics"])
    for name in arguments.model:
        if names_model(name):
            _require_luma(name, card(name).layout)
    if not arguments.dataset:
        clip_files(arguments.clips)
    elif len(arguments.clips) > 1 or not arguments.clips[0].is_dir() or arguments.codec or arguments.preset:
        raise InputError(
            "mcl-jcv is one folder, of clips that are coded already: leave out other clips, --codec, --preset"
        )


def _coding(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "codecs": arguments.codec or ["hevc"],
        "qps": [_QP] if arguments.qp is None else arguments.qp,
        "frames": arguments.frames,
        "preset": arguments.preset or "medium",
        "metrics": arguments.metrics or ["psnr"],
    }


def _require_luma(model: str, layout: str) -> None:
    from postfilter.errors import InputError

    if layout != "luma":
        raise InputError(
            f"{model} takes RGB, and clips are measured on luma alone; give a luma model such as fastarcnn-luma, or "
            "run filter-video with --reference, which converts"
        )


def _on_images(
    arguments: argparse.Namespace, engines: Sequence[Engine], names: Sequence[str], reporter: Reporter
) -> dict[str, Any]:
    from postfilter.quality import evaluate_images, evaluate_pairs, liu4k_pictures, mcl_jci_pairs, tid2008_pairs

    rows: list[dict[str, Any]] = []
    for engine, name in zip(engines, names, strict=True):
        options: dict[str, Any] = {"layout": engine.layout, "method": name}
        title = arguments.dataset or arguments.images.name
        with reporter.progress(f"{name}, {title}") as update:
            options["on_progress"] = update
            if arguments.dataset in ("tid2008", "mcl-jci"):
                pairs_of = tid2008_pairs if arguments.dataset == "tid2008" else mcl_jci_pairs
                pairs = pairs_of(arguments.images, arguments.jpeg_quality)
                rows += evaluate_pairs(pairs, engine, dataset=arguments.dataset, **options)
            else:
                pictures = liu4k_pictures(arguments.images) if arguments.dataset else arguments.images
                qualities = arguments.jpeg_quality or _JPEG_QUALITIES
                rows += evaluate_images(pictures, engine, qualities=qualities, dataset=arguments.dataset, **options)
    return {"rows": rows}


def _on_clips(
    arguments: argparse.Namespace, engines: Sequence[Engine], names: Sequence[str], reporter: Reporter
) -> dict[str, Any]:
    from postfilter.quality import CodedStore, evaluate_coded, evaluate_methods, mcl_jcv_jobs
    from postfilter.video.method import method_of
    from postfilter.video.reading.qp import QpReader

    for engine in engines:
        _require_luma(engine.manifest.model, engine.layout)
    methods = [method_of(engine, name, blind=arguments.blind) for engine, name in zip(engines, names, strict=True)]
    coding = _coding(arguments)
    with reporter.progress("clips") as update:
        if arguments.dataset:
            jobs = mcl_jcv_jobs(arguments.clips[0], arguments.qp, watch=None if arguments.blind else QpReader)
            options = {key: coding[key] for key in ("frames", "metrics")}
            result = evaluate_coded(jobs, methods, **options, on_progress=update)
        else:
            store = CodedStore(arguments.keep_coded) if arguments.keep_coded else None
            result = evaluate_methods(
                arguments.clips, methods, **coding, watch=QpReader, store=store, on_progress=update
            )
    if result["bd"] is None:
        reporter.warn("BD-rate is left out, which takes the library bjontegaard: pip install 'postfilter[quality]'")
    return result


def _told(engine: Engine, arguments: argparse.Namespace) -> list[str]:
    """The inputs that an engine is given on clips."""
    return [each.name for each in engine.inputs if each.name != "qp" or not arguments.blind]


COMMAND = Command(name="evaluate-model", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=render)
