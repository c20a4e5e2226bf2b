"""The int8 ranges shipped beside the weights: found on pictures and clips coded as for training and on drawn scenes.

python -m postfilter.training.ranges edge-s edge-m edge-l --material clips/*.mp4
python -m postfilter.training.ranges arcnn --material photos/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from postfilter import models
from postfilter.errors import InputError, PostfilterError
from postfilter.export.further import declared_inputs
from postfilter.export.graph import to_graph
from postfilter.export.judged_frames import drawn_pairs
from postfilter.export.passes.rewriting import rewrite
from postfilter.models import Layout
from postfilter.quality import clip_files, image_files, jpeg_round_trip
from postfilter.quality.codec import Codec, encode_decode
from postfilter.quantize import Ranges, calibrate, calibration_crops, write_ranges
from postfilter.runtime.further_inputs import FurtherInput, pack
from postfilter.runtime.neighbours import NEIGHBOURS, neighbours_of
from postfilter.training.footage import stretches_of
from postfilter.training.pool import Samples
from postfilter.training.stills import read_images, to_layout

__all__ = ["coded_frames", "find_ranges", "main"]

JPEG_QUALITIES = (10, 20, 30, 40)
CODINGS: tuple[tuple[Codec, int], ...] = (
    ("h264", 32),
    ("hevc", 37),
    ("h264", 42),
    ("hevc", 32),
    ("h264", 37),
    ("hevc", 42),
)
"""Codec and QP; each clip is coded in each way."""
FRAME = 14
"""Of each coded stretch: inter-coded."""
PICTURES = 32
"""Of a folder, evenly spread."""
SCENES = range(21, 25)
"""Seeds of drawn scenes: text, lines and flat areas are hardly in photographs. Engines are judged on other seeds."""
SCALE = 0.5
"""Size at which clips are used, as for training."""


def find_ranges(
    model: str,
    frames: Sequence[Samples],
    *,
    source: str,
    weights: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Return the int8 ranges of a model's weights.

    Args:
        model: name of a model.
        frames: what `coded_frames` returns for the model's layout and inputs.
        source: what they are, in words, for the record.
        weights: a file that `train-model` wrote; the shipped weights where None.
        on_progress: called as `on_progress(trials done, trials in all)`.
    """
    loaded = models.load(model, weights=weights)
    card = loaded.card
    graph, _ = rewrite(to_graph(loaded))
    return calibrate(
        graph,
        calibration_crops(frames, multiple=card.size_multiple, further=len(card.inputs) - len(card.pictures)),
        model=model,
        weights_sha256=loaded.weights_sha256,
        source=source,
        frames=len(frames),
        on_progress=on_progress,
    )


def coded_frames(
    layout: Layout, material: Path | Sequence[Path], *, inputs: tuple[FurtherInput, ...] = ()
) -> list[Samples]:
    """Return decoded frames of pictures (for `rgb`) or clips (for `luma`) of good quality, and of drawn scenes.

    Args:
        layout: `rgb` codes pictures as JPEG, at quality 10, 20, 30 and 40 in turn; `luma` codes stretches of clips at
            half size with x264 and x265, at QP 32, 37 and 42 each.
        material: a folder of pictures; a folder of clips, or clips.
        inputs: what the model reads besides, as `export.further.declared_inputs` has it. Neighbours come from the clip;
            of planes every other frame is told, the others have the default.

    Returns:
        Arrays uint8 [1, C, H, W], the inputs behind the picture's channels.

    Raises:
        InputError: nothing to read, or something that cannot be read.
    """
    if layout == "luma":
        frames = list(_from_clips(clip_files(material), inputs))
    elif isinstance(material, Path):
        frames = [pack(picture, inputs, None, peak=255) for picture in _from_pictures(image_files(material))]
    else:
        raise InputError(f"got {len(material)} paths for an RGB model; give one folder of pictures")
    names = tuple(each.name for each in inputs)
    pairs = drawn_pairs(layout, seeds=SCENES, inputs=names)
    return frames + [pack(pair.decoded, inputs, pair.inputs, peak=255) for pair in pairs]


def _from_pictures(files: Sequence[Path]) -> Iterator[Samples]:
    chosen = files[:: -(-len(files) // PICTURES)]
    for number, picture in enumerate(read_images(chosen, minimum=1)):
        coded = jpeg_round_trip(picture, quality=JPEG_QUALITIES[number % len(JPEG_QUALITIES)])
        yield to_layout(coded, "rgb")[None]


def _from_clips(clips: Sequence[Path], inputs: tuple[FurtherInput, ...]) -> Iterator[Samples]:
    names = {each.name for each in inputs}
    for turn, clip in enumerate(clips):
        stretches = [each.frames() for each in stretches_of([clip], scale=SCALE)[: len(CODINGS)]]
        if len(stretches[0]) <= FRAME + 1:
            raise InputError(f"{clip} is too short to be coded; leave it out, or give a longer clip")
        for number, (codec, qp) in enumerate(CODINGS):
            coded = encode_decode(stretches[number % len(stretches)], codec=codec, qp=qp).frames
            # Each way of coding is told of one clip and not of the next.
            known: dict[str, Any] = {"qp": qp} if (turn + number) % 2 and "qp" in names else {}
            before, frame, after = (each[None, None] for each in coded[FRAME - 1 : FRAME + 2])
            if names & set(NEIGHBOURS):
                known |= neighbours_of(frame, before, after)
            yield pack(frame, inputs, known, peak=255)


def main(argv: Sequence[str] | None = None) -> None:
    """Find the ranges of models' weights and write them."""
    parser = argparse.ArgumentParser(
        prog="python -m postfilter.training.ranges",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help=f"of {', '.join(models.names())}")
    parser.add_argument(
        "--material",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="clips of good quality or folders of them, which are coded here at half size; one folder of pictures for "
        "RGB models",
    )
    parser.add_argument("--source", help="what the material is, for the record (default: the names of the files)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the one model given (default: those shipped)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="of the one model given (default: beside the shipped weights)"
    )
    arguments = parser.parse_args(argv)
    if len(arguments.models) > 1 and (arguments.weights or arguments.output):
        parser.error(f"--weights and --output are of one model; got {len(arguments.models)}")
    try:
        for name in arguments.models:
            _write_for(name, arguments)
    except PostfilterError as error:
        parser.exit(1, f"error: {error}\n")


def _write_for(name: str, arguments: argparse.Namespace) -> None:
    card, given = models.card(name), arguments.material
    source = arguments.source or ", ".join(path.name for path in given)
    material = given[0] if len(given) == 1 else given
    frames = coded_frames(card.layout, material, inputs=declared_inputs(card))
    ranges = find_ranges(name, frames, source=source, weights=arguments.weights, on_progress=_told_in_tenths(name))
    output = arguments.output or card.ranges_path
    write_ranges(ranges, output)
    sys.stdout.write(f"{output}: {ranges.frames} frames, fidelity {ranges.fidelity_db} dB\n")


def _told_in_tenths(name: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if 10 * done // total > 10 * (done - 1) // total:
            sys.stderr.write(f"{name}: {done} of {total} trials\n")

    return tell


if __name__ == "__main__":
    main()
