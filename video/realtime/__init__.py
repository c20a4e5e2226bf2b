"""A stream at its own clock: every frame has a deadline, and the filter steps down a ladder to keep it."""
