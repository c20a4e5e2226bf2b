"""Which model filters a clip where none is named: the best that this machine runs in real time."""
