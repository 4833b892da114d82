"""The command line: commands.py lists and runs the commands, options.py declares their options; a file a group of them."""

from gemoclap.cli.commands import main

__all__ = ["main"]
