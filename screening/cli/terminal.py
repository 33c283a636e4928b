"""Tables on stdout: fitted to a terminal, never cut in a file or a pipe; text is shown as it is, without markup."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

WIDE = 240
"""Characters of a line where stdout is not a terminal."""


def table(headers: dict[str, str]) -> Table:
    """An empty table: header -> how its column is justified, "left" or "right"."""
    empty = Table(box=None, pad_edge=False)
    for header, justify in headers.items():
        is_number = justify == "right"
        empty.add_column(header, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return empty


def room() -> int:
    """Characters of a line: of the terminal, or of a file or pipe."""
    return Console().width if sys.stdout.isatty() else WIDE


def show(content: Table | str, width: int = WIDE, *, exactly: int | None = None) -> None:
    """Print to stdout: fitted to a terminal; elsewhere, or if that is less, to so many characters.

    Args:
        content: What to print.
        width: Characters of a line at most.
        exactly: So many, even if the terminal has fewer.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = exactly or (min(console.width, width) if sys.stdout.isatty() else width)
    console.print(content)
