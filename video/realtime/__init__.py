"""At the clock of the stream: every frame has a deadline, and what cannot be met is made cheaper instead of late."""
