"""Encoders for the filtered track: their options, and the tags that make the picture look as it did."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av
from av import VideoFrame
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from postfilter.errors import OutputError, UnknownNameError
from postfilter.quality.opening import opening_encoder
from postfilter.runtime.backend import usable_cores

if TYPE_CHECKING:
    from postfilter.video.reading.source import ClipInfo

__all__ = ["CODECS", "PRESETS", "Codec", "EncoderSettings", "add_encoder", "encoder_format", "twin_encoder"]

Options = dict[str, str]

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
"""Of x264 and x265, quickest first."""

_HDR = {"CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA"}
_KEY_FRAME_SECONDS = 2
_INTERLACED_DCT = 1 << 18
_FRAME_DURATION = 1 << 8
"""AV_CODEC_FLAG_INTERLACED_DCT and AV_CODEC_FLAG_FRAME_DURATION of libavcodec."""


_PACKED = {"gbrp": "bgr0", "gbrap": "bgra"}
"""Where FFV1 wants the same samples together."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One encoder that the product is tested with."""

    summary: str
    options: Callable[[EncoderSettings, dict[str, str]], Options]
    """From the settings and tags (`range`, `mastering`, `light`, each where known) to the encoder's own options."""
    interlaced: bool = False
    """Whether it can mark and code interlaced frames as such."""
    hdr: bool = False
    """Whether it can write mastering display and content light metadata."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What the user chose.

    Raises:
        UnknownNameError: a codec that is not in `CODECS`.
        OutputError: a CRF outside 0..51.
    """

    codec: str = "libx264"
    crf: float = 16
    """Quality of x264 and x265: lower is better and larger; lossless codecs have none."""
    preset: str = "veryfast"
    """Speed of x264 and x265: the slower, the smaller the file at the same CRF."""
    low_latency: bool = False
    """Every frame leaves at once, and a receiver can join every two seconds; larger at the same CRF."""

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UnknownNameError("codec", self.codec, tuple(CODECS))
        if not 0 <= self.crf <= 51:
            raise OutputError(f"got CRF {self.crf:g}; give 0 (best) to 51, for instance 16")
        if self.preset not in PRESETS:
            raise UnknownNameError("preset", self.preset, PRESETS)


def _x264_options(settings: EncoderSettings, tags: dict[str, str]) -> Options:
    # Without it the same frames may become other packets from run to run, with one thread too: AVX-512 code for the
    # macroblock tree of small pictures. It costs nothing that can be measured.
    own = ["cpu-independent=1"]
    # A thread a core, not x264's own one and a half, and no thread that only looks ahead: the filter works on the same
    # cores, and every thread more makes the file larger.
    own += [f"threads={usable_cores(None)}", "sync-lookahead=0"]
    # x264 writes "limited range" only along with some other tag; this one says nothing of colour.
    own += ["videoformat=component"] if tags.get("range") == "limited" else []
    own += [f"mastering-display={tags['mastering']}"] if "mastering" in tags else []
    own += [f"cll={tags['light']}"] if "light" in tags else []
    return {"crf": f"{settings.crf:g}", "preset": settings.preset, "x264-params": ":".join(own)}


def _x265_options(settings: EncoderSettings, tags: dict[str, str]) -> Options:
    own = ["log-level=error", f"range={tags['range']}"] if "range" in tags else ["log-level=error"]
    own += [f"master-display={tags['mastering']}"] if "mastering" in tags else []
    own += [f"max-cll={tags['light']}"] if "light" in tags else []
    return {"crf": f"{settings.crf:g}", "preset": settings.preset, "x265-params": ":".join(own)}


def _ffv1_options(settings: EncoderSettings, tags: dict[str, str]) -> Options:
    # Version 3 with checksums, as archives use it.
    return {"level": "3", "slicecrc": "1", "g": "1"}


def _svtav1_options(settings: EncoderSettings, tags: dict[str, str]) -> Options:
    # Its presets are numbers, 13 the quickest; its scale of quality goes to 63 where that of x264 goes to 51.
    preset = 12 - PRESETS.index(settings.preset)
    own = [f"color-range={int(tags['range'] == 'full')}"] if "range" in tags else []
    return {"crf": f"{settings.crf * 63 / 51:.0f}", "preset": str(preset), "svtav1-params": ":".join(own)}


def _prores_options(settings: EncoderSettings, tags: dict[str, str]) -> Options:
    return {"vendor": "apl0", "alpha_bits": "16"}


CODECS = {
    "libx264": Codec(summary="H.264, 8 and 10 bits", options=_x264_options, interlaced=True, hdr=True),
    "libx265": Codec(summary="HEVC, 8, 10 and 12 bits, RGB", options=_x265_options, hdr=True),
    "libsvtav1": Codec(summary="AV1, 8 and 10 bits, 4:2:0", options=_svtav1_options),
    "prores_ks": Codec(
        summary="ProRes, 10 bits, 4:2:2, or 4:4:4 with alpha, for .mov", options=_prores_options, interlaced=True
    ),
    "ffv1": Codec(summary="lossless, any format, for .mkv", options=_ffv1_options, interlaced=True),
}
"""Name as FFmpeg has it -> what is known of it."""


def encoder_format(settings: EncoderSettings, clip: ClipInfo) -> str:
    """Return the pixel format to encode in: the clip's own, under the name that the encoder knows.

    Raises:
        OutputError: the encoder cannot take this format, or is not in this build of FFmpeg.
    """
    formats = _formats(settings.codec)
    if not formats:
        raise OutputError(f"this build of FFmpeg has no {settings.codec}; try another: {', '.join(CODECS)}")
    names = [clip.format.name, clip.format.plain_name]
    names += [_PACKED[clip.format.name]] if clip.format.name in _PACKED else []
    for name in names:
        if name in formats:
            _check_size(settings, clip)
            return name
    able = [codec for codec in CODECS if _formats(codec) & set(names)]
    raise OutputError(
        f"{settings.codec} cannot encode {clip.format.name}; these can: {', '.join(able)}"
        f"{' (.mkv)' if able == ['ffv1'] else ''}; try --codec {able[0]}"
        if able
        else f"no encoder here takes {clip.format.name}; convert the clip first, for instance with ffmpeg -pix_fmt "
        "yuv420p"
    )


def _formats(codec: str) -> set[str]:
    try:
        return {each.name for each in av.Codec(codec, "w").video_formats or []}
    except (av.FFmpegError, ValueError):
        return set()


def add_encoder(
    container: OutputContainer, settings: EncoderSettings, clip: ClipInfo, first: VideoFrame, warnings: list[str]
) -> VideoStream:
    """Add the track for the filtered frames to a container, with size, clock, colour tags, aspect and rotation.

    Args:
        container: where to; its header is not yet written.
        settings: the encoder and its quality.
        clip: what the track is to look like.
        first: the first decoded frame, for the metadata that frames carry.
        warnings: gathers what cannot be carried over.

    Raises:
        OutputError: the container cannot hold this codec, or the encoder cannot take the clip.
    """
    codec = CODECS[settings.codec]
    format_name = encoder_format(settings, clip)
    if not codec.hdr and _HDR & clip.side_data.keys():
        warnings.append(f"{settings.codec} does not write the mastering display's metadata; libx265 does")
    try:
        stream = container.add_stream(
            settings.codec, rate=clip.frame_rate, options=_options(container, settings, clip, first)
        )
    except (ValueError, av.FFmpegError) as error:
        raise OutputError(
            f"a {container.format.name} file cannot hold {settings.codec} ({error}); choose another --codec "
            f"({', '.join(CODECS)}) or an .mkv output"
        ) from error
    if not isinstance(stream, VideoStream):
        raise OutputError(f"{settings.codec} encodes no video; choose from {', '.join(CODECS)}")
    _configure(stream.codec_context, settings, clip, first, format_name)
    stream.time_base = stream.codec_context.time_base
    if settings.codec == "libx265" and {"mp4", "mov"} & set(container.format.name.split(",")):
        stream.codec_context.codec_tag = "hvc1"  # the name by which Apple's players find HEVC
    if clip.interlaced and not codec.interlaced:
        warnings.append(f"the clip is interlaced and {settings.codec} writes it as progressive; libx264 does not")
    if clip.display_matrix is not None:
        if not hasattr(stream, "set_display_matrix"):
            raise OutputError(
                "the clip is rotated for display, which this PyAV cannot write; try: pip install 'av>=18'"
            )
        stream.set_display_matrix(clip.display_matrix)
    return stream


def twin_encoder(track: VideoStream, settings: EncoderSettings, clip: ClipInfo, first: VideoFrame) -> VideoCodecContext:
    """Return an opened encoder of no container that works as the one of a track does, with nothing of its past.

    Args:
        track: what `add_encoder` made with the same settings, clip and first frame.
        settings: as given there.
        clip: as given there.
        first: as given there.

    Raises:
        av.FFmpegError: it cannot be opened.
    """
    context = cast(VideoCodecContext, av.CodecContext.create(settings.codec, "w"))
    context.options = _options(cast(OutputContainer, track.container), settings, clip, first)
    context.framerate = clip.frame_rate
    _configure(context, settings, clip, first, encoder_format(settings, clip))
    # What PyAV and the container decide.
    like = track.codec_context
    context.bit_rate, context.flags, context.thread_count = like.bit_rate or 0, like.flags, like.thread_count
    with opening_encoder():
        context.open()
    return context


def _options(container: OutputContainer, settings: EncoderSettings, clip: ClipInfo, first: VideoFrame) -> Options:
    options = CODECS[settings.codec].options(settings, _tags(clip, int(first.color_range)))
    if settings.low_latency:
        options["g"] = str(max(1, round(_KEY_FRAME_SECONDS * clip.frame_rate)))
        if settings.codec != "ffv1":
            options["tune"] = "zerolatency"
    if clip.siting != "unspecified":
        options["chroma_sample_location"] = clip.siting
    if container.format.name == "avi":
        options["bf"] = "0"  # AVI has no times but those of decoding, so frames must not be reordered
    return options


def _configure(
    context: VideoCodecContext, settings: EncoderSettings, clip: ClipInfo, first: VideoFrame, format_name: str
) -> None:
    context.width, context.height, context.pix_fmt = clip.width, clip.height, format_name
    # The input's own clock: timestamps of a variable frame rate stay what they are.
    context.time_base = first.time_base or 1 / clip.frame_rate
    context.flags |= _FRAME_DURATION
    context.colorspace, context.color_trc, context.color_primaries = clip.matrix, clip.transfer, clip.primaries
    context.color_range = 2 if clip.full_range else int(first.color_range)
    if clip.sample_aspect_ratio:
        context.sample_aspect_ratio = clip.sample_aspect_ratio
    if clip.interlaced and CODECS[settings.codec].interlaced:
        context.flags |= _INTERLACED_DCT


def _check_size(settings: EncoderSettings, clip: ClipInfo) -> None:
    if settings.codec == "ffv1" or clip.format.chroma_step is None:
        return
    across, down = clip.format.chroma_step
    if clip.width % across or clip.height % down:
        raise OutputError(
            f"{settings.codec} needs a width divisible by {across} and a height divisible by {down} for "
            f"{clip.format.name}, got {clip.width}x{clip.height}; try --codec ffv1 with an .mkv output"
        )


def _tags(clip: ClipInfo, color_range: int) -> dict[str, str]:
    """Range, mastering display and content light as x264 and x265 write them: 0.00002 and 0.0001 cd/m² a unit."""
    found: dict[str, str] = {}
    if clip.full_range or color_range:
        found["range"] = "full" if clip.full_range else "limited"
    if "CONTENT_LIGHT_LEVEL" in clip.side_data:
        found["light"] = "{},{}".format(*struct.unpack("<2I", clip.side_data["CONTENT_LIGHT_LEVEL"][:8]))
    if "MASTERING_DISPLAY_METADATA" in clip.side_data:
        # AVMasteringDisplayMetadata: ten fractions (r, g, b, white as x and y; least, greatest light), two flags.
        raw = clip.side_data["MASTERING_DISPLAY_METADATA"]
        *fractions, has_primaries, has_luminance = struct.unpack("<22i", raw[:88])
        if has_primaries and has_luminance and all(fractions[1::2]):
            values = [top / bottom for top, bottom in zip(fractions[0::2], fractions[1::2], strict=True)]
            r, g, b, white = ("({},{})".format(*(round(v * 50000) for v in values[i : i + 2])) for i in (0, 2, 4, 6))
            least, greatest = round(values[8] * 10000), round(values[9] * 10000)
            found["mastering"] = f"G{g}B{b}R{r}WP{white}L({greatest},{least})"
    return found
