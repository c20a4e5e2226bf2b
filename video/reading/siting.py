"""Where a stream says its chroma samples lie: read from its headers, since PyAV shows it nowhere else."""

from __future__ import annotations

import re

import av
from av.bitstream import BitStreamFilterContext
from av.stream import Stream

__all__ = ["read_siting"]

_NAMES = ("left", "center", "topleft", "top", "bottomleft", "bottom")
"""chroma_sample_loc_type of H.264 and HEVC (ITU-T H.264 and H.265, annex E), in its order."""


def read_siting(stream: Stream) -> str:
    """Return FFmpeg's name of the chroma location that the stream's parameter sets tell, else `unspecified`.

    Call it before anything is decoded: other threads' messages would be caught as well.
    """
    if stream.codec_context.name not in ("h264", "hevc"):
        return "unspecified"
    level = av.logging.get_level()
    try:
        with av.logging.Capture() as messages:
            av.logging.set_level(av.logging.INFO)
            BitStreamFilterContext("trace_headers", in_stream=stream)
    except (av.FFmpegError, ValueError):
        return "unspecified"
    finally:
        av.logging.set_level(level)
    for _, _, text in messages:
        found = re.search(r"chroma_sample_loc_type_top_field\s.*= (\d+)", text)
        if found and int(found[1]) < len(_NAMES):
            return _NAMES[int(found[1])]
    return "unspecified"
