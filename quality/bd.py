"""Bjøntegaard's measures: what a filter is worth over a range of bit rates, by the library `bjontegaard`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from postfilter.errors import MissingDependencyError

__all__ = ["LEAST_POINTS", "bd_measures", "check_bd"]

LEAST_POINTS = 4
"""Fewer points than Bjøntegaard's own four say too little of a curve."""


def check_bd() -> None:
    """Refuse to go on without the library.

    Raises:
        MissingDependencyError: it is not installed, or broken.
    """
    try:
        import bjontegaard  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("bjontegaard", "BD-rate", "quality", error) from error


def bd_measures(
    kbps: Sequence[float], decoded: Sequence[float], filtered: Sequence[float]
) -> tuple[float | None, float | None]:
    """Return BD-rate in per cent, less than 0 where the filter saves bits, and BD-PSNR in dB.

    Curves are interpolated by Akima's method, the most stable one (Herglotz et al., "Beyond Bjøntegaard: Limits of
    Video Compression Performance Comparisons", ICIP 2022).

    Args:
        kbps: bit rate at each QP, at least `LEAST_POINTS`; the filter does not change it.
        decoded: PSNR in dB at each, without the filter.
        filtered: PSNR in dB at each, with it.

    Returns:
        None in place of what the curves do not give: they do not rise, or share no range.

    Raises:
        MissingDependencyError: see `check_bd`.
    """
    check_bd()
    import bjontegaard

    points = sorted(zip(kbps, decoded, filtered, strict=True))
    rates, before, after = ([point[n] for point in points] for n in range(3))
    found: list[float | None] = []
    for measure in (bjontegaard.bd_rate, bjontegaard.bd_psnr):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of little overlap: the figure is then of that little
                value = float(measure(rates, before, rates, after, method="akima", min_overlap=0))
        except (ValueError, AssertionError):
            value = math.nan
        found.append(value if math.isfinite(value) else None)
    return found[0], found[1]
