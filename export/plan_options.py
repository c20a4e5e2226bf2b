"""How a TensorRT plan is built: what the user may choose, and the frame sizes that a plan takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from postfilter.errors import InputError, UnknownNameError
from postfilter.runtime.trt_target import COMPATIBILITIES, Compatibility

__all__ = ["FrameRange", "PlanOptions", "frame_range"]

_EFFORTS = range(6)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of the builder; the defaults give the fastest plan for the GPU at hand."""

    workspace_mb: int | None = None
    """Scratch memory that a layer may ask for, in MiB; None leaves it to TensorRT: what the GPU has."""
    effort: int = 3
    """TensorRT's optimization level, 0 to 5: higher tries more kernels and builds for longer."""
    compatibility: Compatibility = "none"
    """Which GPUs run the plan beside the model at hand: others of `same_compute_capability` (TensorRT 11), or all of
    compute capability 8.0 and above (`ampere_plus`; not on a Jetson). Slower than `none`."""
    version_compatible: bool = False
    """Whether newer TensorRT versions of the same major run the plan; larger and perhaps slower."""
    smallest: tuple[int, int] = (16, 16)
    """(width, height) of the smallest frame of a plan for any size."""
    usual: tuple[int, int] = (1920, 1080)
    """(width, height) that such a plan is tuned for."""
    largest: tuple[int, int] = (4096, 4096)
    """(width, height) of the largest; each side by itself, so that frames may stand upright. Memory is taken for the
    frames that come, not for these."""

    def __post_init__(self) -> None:
        if self.compatibility not in COMPATIBILITIES:
            raise UnknownNameError("compatibility", self.compatibility, COMPATIBILITIES)
        if self.effort not in _EFFORTS:
            raise InputError(f"the builder's effort is {self.effort}; it goes from {_EFFORTS[0]} to {_EFFORTS[-1]}")
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise InputError(f"the workspace is {self.workspace_mb} MiB; give at least 1, or leave it out")
        for axis, what in enumerate(("width", "height")):
            sides = self.smallest[axis], self.usual[axis], self.largest[axis]
            if not 1 <= sides[0] <= sides[1] <= sides[2]:
                raise InputError(
                    f"the {what}s of the smallest, usual and largest frame are {sides}; give them in rising order, "
                    "from 1"
                )

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes: what stands in `engine.json` and in the build key."""
        content = asdict(self)
        for key in ("smallest", "usual", "largest"):
            content[key] = list(content[key])
        return content


@dataclass(frozen=True, kw_only=True)
class FrameRange:
    """The shapes of an optimization profile, each (1, C, H, W)."""

    smallest: tuple[int, int, int, int]
    usual: tuple[int, int, int, int]
    largest: tuple[int, int, int, int]


def frame_range(*, channels: int, multiple: int, size: tuple[int, int] | None, options: PlanOptions) -> FrameRange:
    """Return the shapes that a plan takes, sides rounded up to the size multiple.

    A plan filters one frame at a time; several run side by side in contexts of their own. A plan for one size has that
    shape three times, by which TensorRT builds for it alone.

    Args:
        channels: of the graph's input.
        multiple: the model's size multiple.
        size: (width, height), or None for any between the smallest and the largest of the options.
        options: of the builder.
    """

    def shape(sides: tuple[int, int]) -> tuple[int, int, int, int]:
        width, height = (-(-side // multiple) * multiple for side in sides)
        return 1, channels, height, width

    if size is not None:
        return FrameRange(smallest=shape(size), usual=shape(size), largest=shape(size))
    return FrameRange(smallest=shape(options.smallest), usual=shape(options.usual), largest=shape(options.largest))
