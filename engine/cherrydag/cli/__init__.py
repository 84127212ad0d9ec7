"""The command line: arguments in, words or JSON out, an exit code. No rule of the ledger lives here.

Modules of commands import what they work with when they run, so that help and completion come at once.
"""

from cherrydag.cli.program import main

__all__ = ["main"]
