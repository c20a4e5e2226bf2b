"""A window that shows the stream. pygame-ce draws it with SDL, which also runs without a screen for tests."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from av import Packet, VideoFrame

from postfilter.errors import DeviceError, MissingDependencyError

if TYPE_CHECKING:
    from postfilter.video.reading.source import Source

__all__ = ["WindowSink"]


class WindowSink:
    """Shows each frame as it is given. Only pictures: sound is not played.

    `write_frame` may be called in any thread; `refresh` must be called in the main one again and again, since that is
    where the systems want their windows handled.

    Args:
        source: what is shown.
        warnings: gathers what is left out.

    Raises:
        MissingDependencyError: pygame-ce is not installed.
        DeviceError: there is no screen.
    """

    def __init__(self, source: Source, warnings: list[str]) -> None:
        try:
            os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it would greet on standard output
            import pygame
        except ImportError as error:
            raise MissingDependencyError("pygame", "a window", "display", error) from error
        self.frames_written = 0
        info = source.info
        if any(each.type == "audio" for each in source.container.streams):
            warnings.append("the window shows pictures only: sound is not played")
        width, height = round(info.width * float(info.sample_aspect_ratio or 1)), info.height
        self._rotation = source.first.rotation
        self._pygame, self._size = pygame, (height, width) if self._rotation % 180 else (width, height)
        # Range and matrix of the stream: FFmpeg's names for what its scaler converts from.
        self._range = "JPEG" if info.full_range else "MPEG"
        self._matrix = {1: "ITU709", 9: "BT2020"}.get(
            info.matrix, "ITU709" if info.matrix == 2 and (info.height > 576 or info.width >= 1280) else "ITU601"
        )
        self._lock = threading.Lock()
        self._waiting: Any = None
        try:
            pygame.display.init()
            self._window = pygame.display.set_mode(self._size, pygame.RESIZABLE)
        except pygame.error as error:
            raise DeviceError(f"no window can be opened ({error}); give a file, - or a URL as output") from error
        pygame.display.set_caption(f"{source.path.name} (filtered)")

    def write_frame(self, frame: VideoFrame) -> None:
        """Convert a frame for the screen; the next `refresh` draws it."""
        picture = frame.reformat(
            format="rgb24",
            src_colorspace=self._matrix,
            src_color_range=self._range,
            dst_color_range="JPEG",
            threads=1,  # several write beyond the ends of their rows
        )
        pixels = picture.to_ndarray()
        surface = self._pygame.image.frombuffer(pixels.tobytes(), (picture.width, picture.height), "RGB")
        if self._rotation:
            surface = self._pygame.transform.rotate(surface, self._rotation)
        with self._lock:
            self._waiting = surface
        self.frames_written += 1

    def refresh(self) -> bool:
        """Draw the newest frame, if there is one; return False once the window was closed, or Escape or Q pressed."""
        pygame = self._pygame
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (
                event.type == pygame.KEYDOWN and event.key in (pygame.K_ESCAPE, pygame.K_q)
            ):
                return False
        with self._lock:
            surface, self._waiting = self._waiting, None
        if surface is not None:
            self._window.blit(pygame.transform.smoothscale(surface, self._window.get_size()), (0, 0))
            pygame.display.flip()
        return True

    def write_packet(self, packet: Packet[Any]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def discard(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
