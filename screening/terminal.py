"""Tables on stdout: fitted to a terminal, never cut in a file or a pipe."""

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


def show(content: Table | str) -> None:
    """Print to stdout."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(content, highlight=False)
