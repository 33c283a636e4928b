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
        empty.add_column(header, justify="right" if justify == "right" else "left")
    return empty


def show(content: Table | str, width: int = WIDE) -> None:
    """Print to stdout: fitted to a terminal; elsewhere, or if that is less, to so many characters."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not sys.stdout.isatty() or console.width > width:
        console.width = width
    console.print(content)
