"""A lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["Lock"]


class Lock:
    """A file that one process at a time may hold.

    Args:
        path: the file; it is made where there is none, and stays.

    Raises:
        BlockingIOError: another one holds it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        while True:
            self._number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(self._number)
                # Its holder may have deleted it in the meantime, and another one have made it anew.
                if os.path.samestat(os.fstat(self._number), path.stat()):
                    return
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(self._number)
                raise
            os.close(self._number)

    def release(self) -> None:
        """Let others have it; once more does nothing."""
        if self._number >= 0:
            with suppress(OSError):
                os.close(self._number)
            self._number = -1


def _lock(number: int) -> None:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError as error:
            raise BlockingIOError(*error.args) from error
        return
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks: as good as unlocked
