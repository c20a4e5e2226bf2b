"""One self-contained page about a filtered clip: pictures before and after, curves, figures, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.video.report.observer import ReportObserver
    from postfilter.video.report.page import check_report, write_report

__all__ = ["ReportObserver", "check_report", "write_report"]

__getattr__ = lazy_names(__name__, {"ReportObserver": "observer", "check_report": "page", "write_report": "page"})
