"""The shape of samples, where a container tells another than the frames inside it: written into the frames."""

from __future__ import annotations

from fractions import Fraction

from av import VideoFrame
from av.filter import Graph

__all__ = ["AspectSetter"]


class AspectSetter:
    """Gives frames a sample aspect ratio; their samples are not touched, nor copied.

    PyAV shows and sets the ratio of containers and codecs only, and encoders such as FFV1's write what the frame tells.

    Args:
        ratio: width of a sample to its height.
    """

    def __init__(self, ratio: Fraction) -> None:
        self._ratio = ratio
        self._graph: Graph | None = None

    def set(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame with the ratio; all frames are of one size and format."""
        if self._graph is None:
            self._graph = Graph()
            first = self._graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 25),
            )
            setter = self._graph.add("setsar", f"{self._ratio.numerator}/{self._ratio.denominator}")
            last = self._graph.add("buffersink")
            first.link_to(setter)
            setter.link_to(last)
            self._graph.configure()
        self._graph.vpush(frame)
        return self._graph.vpull()
