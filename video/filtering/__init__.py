"""From a decoded frame to a filtered one: its samples to the engine and back, and the guard that does no harm."""
