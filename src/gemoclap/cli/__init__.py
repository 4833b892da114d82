"""The command line. commands.py lists and runs the commands, options.py declares their options, and the other files contain
the commands themselves."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gemoclap.extras import lacking


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `commands.main`."""
    try:
        # Imported here, so that Ctrl-C during the import gives one line too, and a package that is missing as well.
        from gemoclap.cli import commands
    except KeyboardInterrupt:
        print("gemoclap: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(f"gemoclap: {lacking(error)}", file=sys.stderr)
        return 2
    return commands.main(arguments)


__all__ = ["main"]
