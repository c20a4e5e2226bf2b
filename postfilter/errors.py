"""The errors that a user can cause, and so can mend.

Every message says three things: what was got, what is allowed, and what to try. The commands print these without a
traceback and exit with status 1, as they do the system's refusal of a path; any other exception is a bug of ours and
keeps its traceback. Each class also derives from the builtin that fits, so `except ValueError` works without knowing
postfilter.
"""

from __future__ import annotations

__all__ = [
    "ArtefactError",
    "DeviceError",
    "InputError",
    "Interrupted",
    "MissingDependencyError",
    "OutputError",
    "PostfilterError",
    "UnknownNameError",
    "VerificationError",
    "WeightsError",
]


class PostfilterError(Exception):
    """The base of every error below."""


class UnknownNameError(PostfilterError, ValueError):
    """A model, backend or other name that nobody registered; the message lists the known ones."""

    def __init__(self, kind: str, got: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} {got!r}; known: {', '.join(known)}")


class InputError(PostfilterError, ValueError):
    """An input that is absent, unreadable or of a kind that cannot be processed."""


class OutputError(PostfilterError, OSError):
    """An output that exists already or cannot be written."""


class Interrupted(KeyboardInterrupt):  # a kind of what Ctrl-C raises, not of error
    """Ctrl-C, after the work was brought to an orderly end; the message says what is there and how to go on."""


class WeightsError(PostfilterError, ValueError):
    """A weights file that is damaged or belongs to another network."""


class ArtefactError(PostfilterError, ValueError):
    """An engine folder that is damaged, incomplete or made for something else."""


class VerificationError(PostfilterError, RuntimeError):
    """An engine whose output is not that of the model it was made from."""


class DeviceError(PostfilterError, RuntimeError):
    """A device that this machine does not have, or that fails."""


class MissingDependencyError(PostfilterError, ImportError):
    """A package that is not installed, or is installed but broken.

    Args:
        package: its import name.
        purpose: what needs it.
        extra: the extra of postfilter that brings it; None for what every install has.
        cause: what importing it raised.
        remedy: what to try, where installing the extra does not help.
    """

    def __init__(self, package: str, purpose: str, extra: str | None, cause: ImportError, *, remedy: str = "") -> None:
        absent = isinstance(cause, ModuleNotFoundError) and cause.name == package
        state = "not installed" if absent else "installed but broken"
        wanted = f"postfilter[{extra}]" if extra else "postfilter"
        again = "" if absent else " --force-reinstall"
        advice = remedy or f"try: pip install{again} '{wanted}'"
        super().__init__(f"{purpose} needs {package}, which is {state} ({cause}); {advice}")
