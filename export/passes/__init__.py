"""Exact rewrites of a graph, one file a pass; `rewriting` lists them and says where each is applied."""
