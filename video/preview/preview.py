"""The preview as a program uses it: an observer of frames with a web page behind it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from postfilter.video.preview.pairs import Pairs
from postfilter.video.preview.server import Server

if TYPE_CHECKING:
    from typing_extensions import Self

    from postfilter.video.frame import Frame
    from postfilter.video.record import FrameRecord

__all__ = ["Preview"]

_GOODBYE_SECONDS = 2.0
"""How long open pages may take to hear that the work has ended."""


class Preview:
    """Serves a page with input and output of a running job side by side; a context manager, and an `Observer`.

    Pictures are made only while a page waits for one, at most eight times a second and with at most a fifth of a core;
    frames in between are not shown. The page, its scripts, figures and pictures are all that is served: no file.

    Args:
        title: the clip's name.
        subtitle: what filters it.
        port: of the page; 0 takes a free one.
        host: the address to listen at. Another than a loopback address shows the pictures to whoever reaches it.

    Raises:
        InputError: the port is taken or may not be used, or the host is none of this machine.
    """

    def __init__(self, *, title: str, subtitle: str = "", port: int = 0, host: str = "127.0.0.1") -> None:
        self._changed = threading.Condition()
        self._figures: dict[str, Any] = {"title": title, "subtitle": subtitle, "ended": None}
        self._version = 0
        self._tiles = self._reused = self._skipped = self._guarded = self._compared = 0
        self._improved_db = 0.0
        self._pairs = Pairs()
        try:
            self._server = Server(host, port, pairs=self._pairs, state_after=self._state_after)
        except BaseException:
            self._pairs.close()
            raise

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell open pages that the work has ended, and stop serving."""
        self.state(ended="finished" if kind is None else "stopped")
        self._pairs.close()
        self._server.stop(patience_seconds=_GOODBYE_SECONDS)

    def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        """Look at a frame; see `video.record.Observer`."""
        self._tiles += record.tiles
        self._reused += record.tiles_reused
        self._skipped += record.tiles_skipped
        self._guarded += record.guard is not None
        if record.psnr_decoded is not None and record.psnr_filtered is not None:
            self._compared += 1
            self._improved_db += record.psnr_filtered - record.psnr_decoded
        self._pairs.offer(record, decoded, filtered)

    def state(self, **figures: Any) -> None:
        """Change what the page tells; figures that are not named stay.

        Args:
            figures: what `json` writes: `done` and `total` frames, `fps`, `speed`, `stages_ms` (stage -> milliseconds a
                frame), `queues` (stage -> [waiting, room]), `rung` (what filters at the moment), `missed` (frames
                after their deadline), `ended`.
        """
        with self._changed:
            self._figures |= figures
            self._figures["guard"] = self._guarded
            for name, tiles in (("reused_percent", self._reused), ("skipped_percent", self._skipped)):
                if tiles:
                    self._figures[name] = 100 * tiles / self._tiles
            if self._compared:
                self._figures["delta_psnr_db"] = self._improved_db / self._compared
            self._version += 1
            self._changed.notify_all()

    def _state_after(self, version: int, timeout_seconds: float) -> tuple[int, dict[str, Any]]:
        """Return the figures and their version, once it is another than `version` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_seconds)
            return self._version, dict(self._figures)
