"""Tables on stdout: fitted to a terminal, never cut in a file or a pipe; text is shown as it is, without markup."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cgcnn.files import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDE = 240
"""Characters of a line where stdout is not a terminal."""


class PlainTable(Table):
    """A table whose cells are shown as they are: control characters as escapes, no markup."""

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """Add a row of texts."""
        super().add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells), **settings)


def table(headers: dict[str, str]) -> PlainTable:
    """An empty table: header -> how its column is justified, "left" or "right"."""
    empty = PlainTable(box=None, pad_edge=False)
    for header, justify in headers.items():
        is_number = justify == "right"
        empty.add_column(
            printable(header), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    return empty


def room() -> int:
    """Characters of a line: of the terminal, or of a file or pipe."""
    return Console().width if sys.stdout.isatty() else WIDE


def show(content: Table | str, width: int = WIDE, *, exactly: int | None = None) -> None:
    """Print to stdout: fitted to a terminal; elsewhere, or if that is less, to so many characters.

    Args:
        content: What to print; text is one line, whoever wrote parts of it.
        width: Characters of a line at most.
        exactly: So many, even if the terminal has fewer.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    console.width = exactly or (min(console.width, width) if sys.stdout.isatty() else width)
    console.print(printable(content) if isinstance(content, str) else content)
