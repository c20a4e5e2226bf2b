"""Lower precision in the graph itself, so that one file says the same to every backend."""

from __future__ import annotations

from postfilter.quantize.edges import HEAD, TAIL, split_nodes
from postfilter.quantize.fp16 import to_fp16

__all__ = ["HEAD", "TAIL", "split_nodes", "to_fp16"]
