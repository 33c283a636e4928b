"""The command `screen`."""

from __future__ import annotations

from screening.cli.commands import main

__all__ = ["main"]
