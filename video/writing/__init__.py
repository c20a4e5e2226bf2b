"""From filtered frames to a file: the encoder, everything else of the input beside it, and nothing half-written."""
