"""`postfilter COMMAND …` and `python -m postfilter COMMAND …`: the door to every command."""

from __future__ import annotations

import importlib
import sys

from postfilter import __version__

COMMANDS = {
    "export-engine": "make a verified engine from a model",
    "filter-video": "run an engine on every frame of a video",
    "filter-image": "run an engine on one picture",
    "profile-engine": "measure an engine, or print the slides' table",
    "evaluate-model": "PSNR, SSIM and PSNR-B on image folders, ΔPSNR on clips",
    "train-model": "train a model's weights",
}


def main() -> int:
    """Run the command named by the first argument; return its exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--version", "-V"):
        sys.stdout.write(f"postfilter {__version__}\n")
        return 0
    if name in COMMANDS:
        sys.argv = [name, *sys.argv[2:]]
        module = importlib.import_module("postfilter.cli." + name.replace("-", "_"))
        status: int = module.main()
        return status
    asked_for_help = name in ("--help", "-h")
    listing = "\n".join(f"  {command:<15} {what}" for command, what in COMMANDS.items())
    out = sys.stdout if asked_for_help else sys.stderr
    if not asked_for_help:
        out.write(f"postfilter: unknown command {name!r}\n")
    out.write(f"usage: postfilter COMMAND …\n\n{listing}\n\nEach is also a command of its own; see COMMAND --help.\n")
    return 0 if asked_for_help else 2


if __name__ == "__main__":
    sys.exit(main())
