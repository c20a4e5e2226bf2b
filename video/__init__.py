"""Container to planes to engine to planes to container. Importing this loads neither PyAV nor any backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.video.clip import filter_frames, filter_video
    from postfilter.video.frame import ColourTags, Frame
    from postfilter.video.picture import ImageQuality, ImageResult, filter_image
    from postfilter.video.reading.source import ClipInfo, probe
    from postfilter.video.realtime.play import open_stream, play_video
    from postfilter.video.realtime.result import RealtimeResult
    from postfilter.video.record import FrameRecord, Observer
    from postfilter.video.reference import VideoQuality
    from postfilter.video.result import VideoResult
    from postfilter.video.writing.encoder import CODECS

__all__ = [
    "CODECS",
    "ClipInfo",
    "ColourTags",
    "Frame",
    "FrameRecord",
    "ImageQuality",
    "ImageResult",
    "Observer",
    "RealtimeResult",
    "VideoQuality",
    "VideoResult",
    "filter_frames",
    "filter_image",
    "filter_video",
    "open_stream",
    "play_video",
    "probe",
]

_HOME = {
    "CODECS": "writing.encoder",
    "ClipInfo": "reading.source",
    "ColourTags": "frame",
    "Frame": "frame",
    "FrameRecord": "record",
    "ImageQuality": "picture",
    "ImageResult": "picture",
    "Observer": "record",
    "RealtimeResult": "realtime.result",
    "VideoQuality": "reference",
    "VideoResult": "result",
    "filter_frames": "clip",
    "filter_image": "picture",
    "filter_video": "clip",
    "open_stream": "realtime.play",
    "play_video": "realtime.play",
    "probe": "reading.source",
}

__getattr__ = lazy_names(__name__, _HOME)
