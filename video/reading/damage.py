"""What is wrong with a clip: counted while it is read, told in one sentence each."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Damage"]


_TOLD = {
    "bytes_missing": ("the file is cut short by {} byte", "the file is cut short by {} bytes"),
    "read_errors": ("the container is damaged in {} place", "the container is damaged in {} places"),
    "packets_before_start": (
        "{} packet before the first picture cannot be decoded",
        "{} packets before the first picture cannot be decoded",
    ),
    "packets_undecodable": (
        "{} packet cannot be decoded; its picture is lost",
        "{} packets cannot be decoded; their pictures are lost",
    ),
    "frames_corrupt": (
        "{} frame is decoded with errors: the input is damaged or cut",
        "{} frames are decoded with errors: the input is damaged or cut",
    ),
    "frames_missing": (
        "{} frame that the container tells of was not found",
        "{} frames that the container tells of were not found",
    ),
    "timestamps_moved": (
        "{} frame had a timestamp that did not increase; it was moved",
        "{} frames had timestamps that did not increase; they were moved",
    ),
}
"""Count -> what is told of one, and of several."""


@dataclass(kw_only=True)
class Damage:
    """Counts of what could not be read as it was meant. All zero: nothing wrong was seen."""

    bytes_missing: int = 0
    """At the end of the file, by what its index or its header tells."""
    read_errors: int = 0
    """Places where the container could not be followed; reading went on behind them where it could."""
    packets_before_start: int = 0
    """Packets before the first picture that need one before the cut, as at the start of a recorded broadcast."""
    packets_undecodable: int = 0
    """Later packets out of which no picture came."""
    frames_corrupt: int = 0
    """Frames that the decoder made with errors, or hid them in; they are filtered like all others."""
    frames_missing: int = 0
    """Frames that the container tells of and that were not found."""
    timestamps_moved: int = 0
    """Frames whose time did not increase, or was none, and was set anew."""

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def as_json(self) -> dict[str, int]:
        """Return the counts under their names."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def sentences(self) -> list[str]:
        """Return one warning for each kind of damage that was seen."""
        counts = self.as_json()
        return [
            (one if counts[name] == 1 else many).format(counts[name])
            for name, (one, many) in _TOLD.items()
            if counts[name]
        ]
