"""Frames to calibrate int8 on: few out of many, such that coarse and fine, still and moving, dark and bright are there.

Clips are looked at twice. The first time each frame leaves behind four numbers and no samples; then the frames that
differ most in them are chosen and decoded again.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.export.pictures import planes_of_frame
from postfilter.quality.clips import clip_files
from postfilter.quality.images import image_files
from postfilter.runtime.further_inputs import BLOCK, pack
from postfilter.runtime.neighbours import NEIGHBOURS, in_threes, neighbours_of

if TYPE_CHECKING:
    from postfilter.models import Layout
    from postfilter.runtime.further_inputs import FurtherInput

__all__ = ["read_calibration_frames"]

Samples: TypeAlias = NDArray[np.uint8]

_FILES = 240
"""Of more files than this, as many are looked at, evenly spread."""
_FRAMES = 480
"""Frames looked at, over all clips; in each clip at least `_FEWEST`."""
_FEWEST = 24
_STRETCHES = 4
"""A clip is looked at in so many places."""
_WIDEST = 1024
"""Of larger pictures a window of this side is kept, so that memory does not grow with the picture."""

_KINDS = (1, 3)
"""Picture types that count by themselves: I and B. P is neither."""

_log = logging.getLogger(__name__)


def read_calibration_frames(
    paths: Path | Sequence[Path],
    layout: Layout,
    *,
    limit: int = 48,
    inputs: tuple[FurtherInput, ...] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Samples]:
    """Return decoded frames that cover what clips hold: QP, picture type, brightness and motion.

    1. Up to 480 frames are looked at, in four stretches of each clip. H.264 and MPEG-2 tell their QP; for other codecs
       the bits spent on a sample stand in for it.
    2. One frame after the other is chosen from the clips that have given the fewest so far: the one that is farthest
       from all chosen before it, each of the facts counting from its least to its largest value.

    The same files give the same frames.

    Args:
        paths: clips and pictures that FFmpeg decodes, as they will be filtered: coded, not clean; folders are searched
            for both.
        layout: `luma` gives the Y plane, `rgb` full-range R'G'B'.
        limit: take at most so many frames. Fewer come where there are fewer.
        inputs: what the model reads besides. Neighbours come from the clip. Every other frame is told the QP where
            FFmpeg tells it, which is for H.264; all others have the input's default, with which the model runs blind.
        on_progress: called as `on_progress(files done, files in all)`; each file counts twice.

    Returns:
        Arrays uint8 [1, C, H, W], the inputs behind the picture's channels, at least one, in the order of the files and
        of their frames; of frames larger than 1024 a side a window, at the middle or at a border in turn.

    Raises:
        InputError: a path that is absent or holds neither clips nor pictures, a file that cannot be decoded, or a limit
            below 1.
    """
    if limit < 1:
        raise InputError(f"got {limit = } frames to calibrate on; it needs at least 1, and some tens are better")
    files = _spread(_files([paths] if isinstance(paths, Path) else paths), _FILES)
    tell = on_progress or (lambda done, total: None)
    seen: list[_Frame] = []
    for done, file in enumerate(files):
        seen += _look_at(file, number=done, frames=max(_FEWEST, _FRAMES // len(files)))
        tell(done + 1, 2 * len(files))
    chosen = {(frame.file, frame.stretch, frame.index) for frame in _choose(seen, limit)}
    kept: list[Samples] = []
    temporal = any(each.name in NEIGHBOURS for each in inputs)
    for done, file in enumerate(files):
        last = {stretch: index for number, stretch, index in sorted(chosen) if number == done}
        frames = ((frame, place) for frame, _, place in _decoded(file, last))
        for (frame, place), planes, *around in in_threes((each, planes_of_frame(each[0], layout)) for each in frames):
            if (done, *place) in chosen:
                known = {} if len(kept) % 2 else _known_of(frame, inputs)
                if temporal:
                    known |= neighbours_of(planes, *around)
                kept.append(_window(pack(planes, inputs, known, peak=255), turn=len(kept)))
        tell(len(files) + done + 1, 2 * len(files))
    return kept


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What is remembered of a frame."""

    file: int
    stretch: int
    index: int
    """Within its stretch."""
    kind: int
    """FFmpeg's picture type: 1 for I, 2 for P, 3 for B."""
    qp: float
    """Mean over the frame; NaN where the codec does not tell."""
    bits: float
    """Of its packet, for each sample of luma; logarithm to base 2."""
    brightness: float
    """Mean of luma, in code values."""
    motion: float
    """Mean absolute difference from the frame before, in code values; of the first frame from the next."""


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found: list[Path] = []
            for search in (clip_files, image_files):
                with contextlib.suppress(InputError):  # a folder of clips alone, or of pictures alone
                    found += search(path)
            if not found:
                raise InputError(f"{path} holds no clips and no pictures; calibrate on typical decoded material")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path} does not exist; give clips, pictures, or folders that hold some")
    if not files:
        raise InputError("got nothing to calibrate on; give clips, pictures, or folders that hold some")
    return list(dict.fromkeys(files))


def _spread(files: list[Path], most: int) -> list[Path]:
    """At most `most` of the files, from the first to the last at even distances."""
    if len(files) <= most:
        return files
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, most)]


def _look_at(file: Path, *, number: int, frames: int) -> list[_Frame]:
    """Return the facts of frames spread over a file."""
    each_stretch = math.ceil(frames / _STRETCHES)
    found: dict[tuple[int, int], _Frame] = {}
    times: set[int] = set()
    before: Samples | None = None
    for frame, size, (stretch, index) in _decoded(file, dict.fromkeys(range(_STRETCHES), each_stretch - 1)):
        luma = planes_of_frame(frame, "luma")[0, 0, ::4, ::4]
        motion = 0.0
        if before is not None and index > 0 and before.shape == luma.shape:
            motion = float(np.abs(luma.astype(np.int16) - before).mean())
        before = luma
        if frame.pts is not None and frame.pts in times:  # two stretches of a short clip overlap
            continue
        times.add(frame.pts)
        found[stretch, index] = _Frame(
            file=number,
            stretch=stretch,
            index=index,
            kind=int(frame.pict_type),
            qp=_qp(frame),
            bits=math.log2(8 * max(size, 1) / (frame.width * frame.height)),
            brightness=float(luma.mean()),
            motion=motion,
        )
        if index == 1 and (stretch, 0) in found:
            found[stretch, 0] = replace(found[stretch, 0], motion=motion)
    if not found:
        raise InputError(f"{file} holds no frame that can be decoded; leave it out, or give another file")
    return list(found.values())


def _decoded(file: Path, until: Mapping[int, int]) -> Iterator[tuple[Any, int, tuple[int, int]]]:
    """Decode stretches of a file; the same file gives the same frames every time.

    Args:
        file: a clip or a picture.
        until: stretch -> the last of its frames that is wanted.

    Yields:
        The frame, the bytes of its packet, and (stretch, index in it).
    """
    import av

    shown = 0
    failure: Exception | None = None
    for stretch, last in until.items():
        try:
            with av.open(str(file)) as container:
                if not container.streams.video:
                    raise InputError(f"{file} has no video; leave it out, or give another file")
                if stretch and not _seek(container, stretch / _STRETCHES):
                    continue
                for index, (frame, size) in enumerate(islice(_frames(container), last + 1)):
                    yield frame, size, (stretch, index)
                    shown += 1
        except (av.FFmpegError, OSError) as error:
            failure = error
    if failure is not None and not shown:
        raise InputError(f"cannot decode {file} ({failure}); leave it out, or give another file") from failure
    if failure is not None:
        _log.warning("%s is damaged (%s); calibrating on what can be decoded of it", file, failure)


def _seek(container: Any, share: float) -> bool:
    """Go to a share of a clip's length; whether the container could."""
    import av

    if not container.duration:
        return False
    try:
        container.seek(round((container.start_time or 0) + share * container.duration))
    except av.FFmpegError:
        return False
    return True


def _frames(container: Any) -> Iterator[tuple[Any, int]]:
    stream = container.streams.video[0]
    # Not by frames: FFmpeg's H.264 decoder would tell the QPs of blocks that another thread has not decoded yet.
    stream.thread_type = "SLICE"
    stream.codec_context.options = {"export_side_data": "venc_params"}
    sizes: dict[int | None, int] = {}
    for packet in container.demux(stream):
        sizes[packet.pts] = packet.size
        for frame in packet.decode():
            yield frame, sizes.pop(frame.pts, packet.size)


def _qp(frame: Any) -> float:
    parameters = frame.side_data.get("VIDEO_ENC_PARAMS")
    blocks = parameters.qp_map() if parameters is not None else None
    return float(blocks.mean()) if blocks is not None and blocks.size else math.nan


def _known_of(frame: Any, inputs: tuple[FurtherInput, ...]) -> dict[str, NDArray[Any]]:
    """Return the QP of each block of a frame of H.264, where it is asked for; the other codecs count differently."""
    parameters = frame.side_data.get("VIDEO_ENC_PARAMS")
    asked = any(each.name == "qp" for each in inputs)
    if not asked or parameters is None or not parameters.nb_blocks or parameters.codec_type.name != "H264":
        return {}
    blocks = parameters.qp_map()
    return {"qp": blocks[None]} if blocks.shape == (-(-frame.height // BLOCK), -(-frame.width // BLOCK)) else {}


def _choose(frames: list[_Frame], limit: int) -> list[_Frame]:
    """Return at most `limit` frames that lie far apart, the same number of each file as far as it has them."""
    facts = _facts(frames)
    files = np.array([frame.file for frame in frames])
    given = np.zeros(files.max() + 1)
    distance = np.full(len(frames), np.inf)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(frames)):
        free = np.isfinite(given[files]) & (distance >= 0)
        allowed = free & (given[files] == given[files[free]].min())
        best = int(np.argmax(np.where(allowed, distance, -1)))
        chosen.append(best)
        given[files[best]] += 1
        distance = np.minimum(distance, np.linalg.norm(facts - facts[best], axis=1))
        distance[chosen] = -1
    return [frames[index] for index in chosen]


def _facts(frames: list[_Frame]) -> NDArray[np.float64]:
    """The facts of each frame, [frames, 5], each from 0 to 1."""
    qp = np.array([frame.qp for frame in frames])
    fineness = np.array([frame.bits for frame in frames])
    told = np.isfinite(qp)
    columns = [
        np.where(told, 1 - _unit(qp, told), _unit(fineness, ~told)),
        _unit(np.array([frame.brightness for frame in frames])),
        _unit(np.sqrt([frame.motion for frame in frames])),
        *(np.array([frame.kind == kind for frame in frames], float) for kind in _KINDS),
    ]
    return np.stack(columns, axis=1)


def _unit(values: NDArray[np.float64], among: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return values moved and scaled so that those that count go from 0 to 1."""
    counting = values if among is None else values[among]
    if not counting.size or np.ptp(counting) == 0:
        return np.zeros_like(values)
    return (values - counting.min()) / np.ptp(counting)


def _window(planes: Samples, *, turn: int) -> Samples:
    """Cut a large picture to `_WIDEST`; `turn` goes round nine places, in whole blocks of 16 samples."""
    tops, lefts = (
        [place * max(0, length - _WIDEST) // 2 // 16 * 16 for place in range(3)] for length in planes.shape[2:]
    )
    top, left = tops[turn // 3 % 3], lefts[turn % 3]
    return np.ascontiguousarray(planes[:, :, top : top + _WIDEST, left : left + _WIDEST])
