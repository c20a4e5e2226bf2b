"""`export-engine --auto`: the fastest engine that is still the same filter, found by trying."""
