r"""Train the network of `quality.strength`, which tells from pixels how strongly a picture was compressed.

    python -m postfilter.training.strength --images BSDS500/train BSDS500/val --clips CLIPS --cache FOLDER \
        --output models/weights/strength.json

Its examples: pans over stills, and clips, through x264 and x265 as `train-model edge-m` makes them (and taken from its
cache where they are there), some of the pans at QP 8 to 19 and through other codecs, frames before coding, and the
stills as JPEG. Every tenth still or clip is held out, with all that was made of it: what the card reports is of those.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from postfilter.quality.clips import clip_files
from postfilter.quality.codec import planes_of
from postfilter.quality.images import image_files, jpeg_round_trip
from postfilter.quality.metrics import luma_of
from postfilter.quality.opening import opening_encoder
from postfilter.quality.strength import (
    QP_CENTRE,
    QP_SCALE,
    TILE,
    UNCODED_QP,
    judged,
    qp_of_jpeg,
    tiles_of,
    traces_of,
)
from postfilter.training.coding import CodecName, Coding, code
from postfilter.training.footage import pans_of, stretches_of
from postfilter.training.pool import Samples
from postfilter.training.shots import CodingMix, Shot, code_shots
from postfilter.training.stills import read_images

__all__ = ["Example", "coded_by", "equivalent_qp", "errors_of", "examples_of", "fit", "main"]

# Those of `training.recipe`, so that the shots of one serve the other.
_PAN_SCALES = (1.0, 0.7, 0.5, 1.0, 0.5, 0.4)
_CLIP_SCALE, _CLIP_REPEATS = 0.5, 8
_MIX = CodingMix(codecs=("h264", "hevc", "hevc"), quality=(20, 47))
_HELD_OUT = 10
_FRAMES = (2, 5)
"""Of a shot, those that are looked at."""
_OTHERS = {"av1": ("libsvtav1", 15, 63), "vp9": ("libvpx-vp9", 15, 63), "mpeg2": ("mpeg2video", 2, 24)}
"""Other codecs: FFmpeg's encoder, and the lowest and highest quality that it is asked for."""
_ANCHORS = (20, 28, 36, 44)
"""QPs at which x264's PSNR is looked up."""
_STEPS, _WIDTH, _NOISE = 2500, 12, 0.1


class Example(NamedTuple):
    """One picture."""

    traces: NDArray[np.float32]
    """What the network reads of it, float32 [F]."""
    qp: float
    """What it shall answer."""
    kind: str
    """What coded it."""
    source: Path
    """The still or clip that it was made of."""


def examples_of(
    stills: Sequence[Path], clips: Sequence[Path], *, seed: int, cache: Path, threads: int
) -> Iterator[Example]:
    """Yield what to learn from.

    Args:
        stills: pictures, panned over and coded, and made JPEGs of.
        clips: coded at half size.
        seed: decides motion, settings and crops.
        cache: see `code_shots`.
        threads: as there.
    """
    pans = pans_of(stills, repeats=len(_PAN_SCALES), scales=_PAN_SCALES, seed=seed)
    shots = code_shots(pans, _MIX, repeats=1, seed=seed, cache=cache, threads=threads)
    for number, (pan, shot) in enumerate(zip(pans, shots, strict=True)):
        rng = np.random.default_rng((seed, number))
        if min(shot.clean.shape[1:]) >= TILE:
            yield from _of_pan(shot, pan.still, number, rng)
    stretches = stretches_of(clips, scale=_CLIP_SCALE)
    shots = code_shots(stretches, _MIX, repeats=_CLIP_REPEATS, seed=seed, cache=cache, threads=threads)
    for number, shot in enumerate(shots):
        rng = np.random.default_rng((seed, number, 2))
        if min(shot.clean.shape[1:]) >= TILE:
            yield from _of_shot(shot, stretches[number // _CLIP_REPEATS].clip, rng)
    for index, still in enumerate(stills):
        rng = np.random.default_rng((seed, index, 1))
        for picture in read_images([still], minimum=2 * TILE):
            for quality in map(int, rng.integers(4, 97, 5)):
                luma = luma_of(jpeg_round_trip(picture, quality=quality))
                yield Example(_traces(luma, rng), qp_of_jpeg(quality), "jpeg", still)


def _of_shot(shot: Shot, source: Path, rng: np.random.Generator) -> Iterator[Example]:
    for frame in _FRAMES:
        if frame < len(shot.clean):
            qp = float(shot.qp[frame].mean())
            yield Example(_traces(shot.degraded[frame], rng), qp, "h264 hevc", source)


def _of_pan(shot: Shot, still: Path, number: int, rng: np.random.Generator) -> Iterator[Example]:
    """Examples of a shot, and of its clean frames as they are, at a low QP, or through another codec in turn."""
    yield from _of_shot(shot, still, rng)
    turn, way = divmod(number, 3)
    if way == 0:
        yield Example(_traces(shot.clean[3], rng), UNCODED_QP, "uncoded", still)
    elif way == 1:
        codecs: tuple[CodecName, CodecName] = ("h264", "hevc")
        soft = turn % 4 != 0
        clean = _softened(shot.clean, rng) if soft else shot.clean
        quality = int(rng.integers(12, 44) if soft else rng.integers(8, 20))
        coded = code(clean, Coding(codec=codecs[turn % 2], quality=quality))
        for frame in _FRAMES:
            yield Example(
                _traces(coded.frames[frame], rng), float(coded.qp[frame].mean()), "soft" if soft else "low", still
            )
        if soft:
            yield Example(_traces(clean[3], rng), UNCODED_QP, "soft", still)
    elif way == 2:
        name = tuple(_OTHERS)[turn % len(_OTHERS)]
        _, low, high = _OTHERS[name]
        frames = coded_by(shot.clean, name, int(rng.integers(low, high + 1)))
        qp = equivalent_qp(shot.clean, frames)
        for frame in _FRAMES:
            yield Example(_traces(frames[frame], rng), qp, name, still)


def coded_by(frames: Samples, name: str, quality: int) -> Samples:
    """Return luma, uint8 [T, H, W], after another codec than those of `training.coding`.

    Args:
        frames: uint8 [T, H, W], sides even.
        name: `av1`, `vp9` or `mpeg2`.
        quality: a rate factor of 0..63; of MPEG-2 the quantiser scale, 1..31.
    """
    encoder = _OTHERS[name][0]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream(encoder, rate=25)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        if name == "av1":
            context.options = {"crf": str(quality), "preset": "9", "svtav1-params": "lp=1"}
        elif name == "vp9":
            context.options = {"crf": str(quality), "b": "0", "deadline": "good", "cpu-used": "5"}
        else:
            scale = str(quality)
            context.options = {"qmin": scale, "qmax": scale, "bf": "2", "b": "40000000"}
        with opening_encoder():
            container.start_encoding()
        for number, luma in enumerate(frames):
            planes = np.full((luma.shape[0] * 3 // 2, luma.shape[1]), 128, np.uint8)
            planes[: luma.shape[0]] = luma
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        return np.stack([planes_of(frame)[0] for frame in container.decode(video=0)])


def equivalent_qp(clean: Samples, degraded: Samples) -> float:
    """Return the constant QP at which x264 loses as much of a clip, by PSNR; 8..51."""
    lost = [_psnr(clean, code(clean, Coding(codec="h264", quality=qp)).frames) for qp in _ANCHORS]
    slope, start = np.polyfit(lost, _ANCHORS, 1)
    return float(np.clip(start + slope * _psnr(clean, degraded), 8, 51))


def fit(examples: Sequence[Example], *, seed: int, steps: int = _STEPS) -> dict[str, NDArray[np.float32]]:
    """Train the network and return its weights by name."""
    torch.manual_seed(seed)
    given = torch.from_numpy(np.stack([each.traces for each in examples]))
    wanted = torch.tensor([(each.qp - QP_CENTRE) / QP_SCALE for each in examples])
    mean, scale = given.mean(dim=0), 1 / (given.std(dim=0) + 0.01)
    given = (given - mean) * scale
    network = nn.Sequential(
        nn.Linear(given.shape[1], _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 2)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = torch.randint(len(given), (256,))
        qp, spread = network(given[batch] + _NOISE * torch.randn(len(batch), given.shape[1])).unbind(dim=1)
        # The likelihood of a normal distribution whose deviation is estimated as well (Nix and Weigend 1994).
        likelihood = (spread + 0.5 * ((qp - wanted[batch]) / spread.exp()).square()).mean()
        loss = likelihood + functional.smooth_l1_loss(qp, wanted[batch], beta=0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    weights = {"mean": mean.numpy(), "scale": scale.numpy()}
    layers = [each for each in network if isinstance(each, nn.Linear)]
    for number, layer in enumerate(layers, start=1):
        weights |= {f"w{number}": layer.weight.detach().numpy(), f"b{number}": layer.bias.detach().numpy()}
    return weights


def errors_of(weights: Mapping[str, NDArray[np.float32]], examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """Return by kind how many examples there are, and the mean absolute and the mean error of their QP."""
    found = defaultdict(list)
    for each in examples:
        found[each.kind].append(judged(each.traces, weights)[0] - each.qp)
    return {
        kind: {
            "pictures": len(errors),
            "mean_absolute_error": round(float(np.abs(errors).mean()), 2),
            "mean_error": round(float(np.mean(errors)), 2),
        }
        for kind, errors in sorted(found.items())
    }


def _softened(frames: Samples, rng: np.random.Generator) -> Samples:
    """Frames as of a soft lens, or of a smaller picture scaled up, some with grain."""
    blur = float(rng.uniform(0.4, 1.8))
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in frames]).astype(np.float32)
    if rng.random() < 0.4:
        soft += rng.normal(0, rng.uniform(0.5, 3), soft.shape).astype(np.float32)
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def _traces(luma: Samples, rng: np.random.Generator) -> NDArray[np.float32]:
    """Traces of a picture, one in four cropped so that no grid begins at its corner."""
    if rng.random() < 0.25:
        top, left = rng.integers(1, 8, 2)
        if min(luma.shape) >= TILE + 8:
            luma = luma[top:, left:]
    return traces_of(tiles_of(luma, count=int(rng.choice([12, 24, 96]))))[0]


def _psnr(clean: Samples, other: Samples) -> float:
    error = (clean.astype(np.int16) - other).astype(np.float64)
    return 10 * math.log10(255**2 / max(float(np.square(error).mean()), 1e-3))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders of stills")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], metavar="CLIP", help="clips, or folders of them")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="keeps coded shots")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights and card, .json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    paths = [path for folder in arguments.images for path in image_files(folder)]
    # Those that `train-model` chooses its weights on stay out.
    stills = sorted(set(paths) - set(paths[:: max(5, len(paths) // 10)]))
    clips = clip_files(arguments.clips) if arguments.clips else []
    examples = list(examples_of(stills, clips, seed=arguments.seed, cache=arguments.cache, threads=arguments.threads))
    held_out = {*stills[::_HELD_OUT], *clips[::_HELD_OUT]}
    weights = fit([each for each in examples if each.source not in held_out], seed=arguments.seed)
    card = {
        "model": "strength",
        "data": {
            "training": f"{len(stills)} stills and {len(clips)} clips, less every tenth",
            "pictures": len(examples),
            "degradation": "x264 and x265 at QP 20 to 47 and 8 to 19, JPEG at quality 4 to 96, SVT-AV1, VP9, MPEG-2",
        },
        "command": "python -m postfilter.training.strength --images BSDS500/train BSDS500/val --clips CLIP … "
        f"--seed {arguments.seed}",
        "results": {"held_out": errors_of(weights, [each for each in examples if each.source in held_out])},
        "weights": {name: np.vectorize(_short)(value).tolist() for name, value in weights.items()},
    }
    arguments.output.write_text(json.dumps(card, indent=None, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(json.dumps(card["results"], indent=1))  # noqa: T201


def _short(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
