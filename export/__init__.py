"""Model -> graph -> engine: exact rewrites, building, verification, cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postfilter.lazy import lazy_names

if TYPE_CHECKING:
    from postfilter.export.build import BuildResult, build_engine
    from postfilter.export.cache import Standing, cached_standing, standing
    from postfilter.export.costs import Cost, cost, slides_rows
    from postfilter.export.explain import ExplainedPass, explain_rewrites
    from postfilter.export.graph import to_graph
    from postfilter.export.key import Change, build_key, differences, request_parts
    from postfilter.export.passes.rewriting import rewrite
    from postfilter.export.plan_options import PlanOptions
    from postfilter.export.precision import PRECISIONS, Precision
    from postfilter.export.quantize_options import QuantizeOptions
    from postfilter.export.resolve import cached_engine, engine_folder, engine_from, names_model
    from postfilter.export.verify import Verification, verify_engine

__all__ = [
    "PRECISIONS",
    "BuildResult",
    "Change",
    "Cost",
    "ExplainedPass",
    "PlanOptions",
    "Precision",
    "QuantizeOptions",
    "Standing",
    "Verification",
    "build_engine",
    "build_key",
    "cached_engine",
    "cached_standing",
    "cost",
    "differences",
    "engine_folder",
    "engine_from",
    "explain_rewrites",
    "names_model",
    "request_parts",
    "rewrite",
    "slides_rows",
    "standing",
    "to_graph",
    "verify_engine",
]

_HOME = {
    "PRECISIONS": "precision",
    "BuildResult": "build",
    "Change": "key",
    "Cost": "costs",
    "ExplainedPass": "explain",
    "PlanOptions": "plan_options",
    "Precision": "precision",
    "QuantizeOptions": "quantize_options",
    "Standing": "cache",
    "Verification": "verify",
    "build_engine": "build",
    "build_key": "key",
    "cached_engine": "resolve",
    "cached_standing": "cache",
    "cost": "costs",
    "differences": "key",
    "engine_folder": "resolve",
    "engine_from": "resolve",
    "explain_rewrites": "explain",
    "names_model": "resolve",
    "request_parts": "key",
    "rewrite": "passes.rewriting",
    "slides_rows": "costs",
    "standing": "cache",
    "to_graph": "graph",
    "verify_engine": "verify",
}

__getattr__ = lazy_names(__name__, _HOME)
