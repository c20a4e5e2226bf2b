"""The commands: each file parses its arguments, calls one function of a room below, and prints what came back."""
