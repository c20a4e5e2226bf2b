"""Model -> graph -> engine: exact rewrites, building, verification, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.export.build import BuildResult, build_engine
    from postfilter.export.costs import Cost, cost, slides_rows
    from postfilter.export.graph import to_graph
    from postfilter.export.key import build_key
    from postfilter.export.plan_options import PlanOptions
    from postfilter.export.resolve import cached_engine, engine_from
    from postfilter.export.rewriting import rewrite
    from postfilter.export.verify import Verification, verify_engine

__all__ = [
    "BuildResult",
    "Cost",
    "PlanOptions",
    "Verification",
    "build_engine",
    "build_key",
    "cached_engine",
    "cost",
    "engine_from",
    "rewrite",
    "slides_rows",
    "to_graph",
    "verify_engine",
]

_HOME = {
    "BuildResult": "build",
    "Cost": "costs",
    "PlanOptions": "plan_options",
    "Verification": "verify",
    "build_engine": "build",
    "build_key": "key",
    "cached_engine": "resolve",
    "cost": "costs",
    "engine_from": "resolve",
    "rewrite": "rewriting",
    "slides_rows": "costs",
    "to_graph": "graph",
    "verify_engine": "verify",
}

__getattr__ = lazy_names(__name__, _HOME)
