"""The command `cgcnn`."""

from __future__ import annotations

from cgcnn.cli.commands import main

__all__ = ["main"]
