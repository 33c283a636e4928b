"""A ranking on stdout: a table with the columns that the terminal has room for, or CSV or JSON for other programs.

No number is ever cut: of what does not fit, the least important columns are left out.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cgcnn.cli.options import echo, plain
from cgcnn.files import STDOUT, printable, recipes, write_csv
from cgcnn.models.card import Card, read_card, shipped
from screening.chemistry.filters import explain_filters
from screening.chemistry.groups import GROUPS
from screening.ranking.known import GIVEN
from screening.ranking.user_hull import ABOVE, BOUND, DOUBTFUL
from screening.recipe import DEFAULT_FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

    from screening.candidates.kind import Candidates, Field
    from screening.ranking.table import Ranking


WIDE = 240
"""Characters of a line where stdout is not a terminal."""


class PlainTable(Table):
    """A table whose cells are shown as they are: control characters as escapes, no markup."""

    def add_row(self, *cells: RenderableType | None, **settings: Any) -> None:
        """Add a row of texts."""
        super().add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells), **settings)


def table(headers: dict[str, str]) -> PlainTable:
    """Return an empty table: header -> how its column is justified, "left" or "right"."""
    empty = PlainTable(box=None, pad_edge=False)
    for header, justify in headers.items():
        is_number = justify == "right"
        empty.add_column(
            printable(header), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    return empty


def room() -> int:
    """Return characters of a line: of the terminal, or of a file or pipe."""
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


def list_models() -> None:
    """Print what each shipped model is for, what it takes, the errors of its main target, and its hull."""
    models = table({"model": "left", "": "left", "about": "left"})
    for name in sorted(shipped()):
        card = read_card(name)
        models.add_row(card.name, "for", card.summary)
        models.add_row("", "takes", _takes(card))
        models.add_row("", "error", _errors(card))
        if card.hull not in {"", "none"}:
            models.add_row("", "hull", card.hull)
    show(models, width=100)
    show("`cgcnn card NAME` shows a whole card: data, labels, hull, split, every figure, known weaknesses.")


def _takes(card: Card) -> str:
    if card.input == "structure":
        return "structures"
    return f"elements on the sites of {' or '.join(card.prototypes)}"


def _errors(card: Card) -> str:
    """Return the main target and its first kind of figure, on each split."""
    main = [figure for figure in card.metrics if figure.target == card.targets[0].name]
    figures = [figure for figure in main if figure.metric == main[0].metric]
    texts = (f"{figure.metric} {figure.value:.3f} {figure.unit}".rstrip() + f" ({figure.split})" for figure in figures)
    return f"{card.targets[0].name}: {'; '.join(texts) or 'not measured'}"


def list_filters() -> None:
    """Print each filter with its value, what passes it, and whose numbers it goes by."""
    shown = table(dict.fromkeys(("filter", "default", "passes", "source"), "left"))
    for row in explain_filters():
        name = f"{row['name']}={row['value']}" if row["value"] else row["name"]
        shown.add_row(name, row["default"], row["meaning"], row["source"])
    show(shown)
    show(f"Where the sites are worked out from --elements: {', '.join(DEFAULT_FILTERS)}. --no-filter takes none.")
    show(f"Groups, for lists of elements and `exclude`: {', '.join(GROUPS)}.")


def list_recipes() -> None:
    """Print each shipped recipe with its purpose and how to run it."""
    shown = table(dict.fromkeys(("recipe", "command", "purpose"), "left"))
    for name, path in recipes().items():
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        command = f"screen run {name}" if "kind" in recipe else f"cgcnn train DATA --recipe {name} -o MODEL"
        shown.add_row(name, command, recipe.get("summary", ""))
    show(shown)


GAP = 2
"""Blanks between columns."""
LONGEST_TEXT = 24
"""Characters of an id or a formula that are reserved for it; a longer one takes more lines where room is scarce."""
FLAGS = {  # column -> the value that is worth a word, and the word
    "in_domain": ("false", "outside"), "charge_balanced": ("false", "charge"),
    "in_training": ("true", "known"), "radii_imputed": ("true", "radii"),
}  # fmt: skip
"""Columns that the short table tells as words; beside them "anions": known ones, never together on X."""

REMARKS = {"states": 7, "perovskite": 7, "known_as": 6, "known_id": 9, "decomposition": 3}
"""The texts of a candidate that the short table has, and how important they are, see `columns`."""

Row = dict[str, str]
Format = Literal["table", "csv", "json"]


@dataclass(frozen=True)
class Look:
    """How to show a ranking.

    Attributes:
        format: A table to read, or CSV or JSON with the columns of the ranked CSV.
        verbose: All columns of the ranked CSV, with all decimals, whatever the width.
    """

    format: Format = "table"
    verbose: bool = False


@dataclass(frozen=True)
class Shown:
    """A column of the short table.

    Attributes:
        header: Its head.
        cell: The text of a row.
        is_text: Words, to the left; numbers are to the right.
    """

    header: str
    cell: Callable[[Mapping[str, str]], str]
    is_text: bool = False


def print_ranking(ranking: Ranking, count: int, look: Look) -> None:
    """Print the first `count` candidates to stdout."""
    candidates = ranking.plan.candidates
    rows = [{name: plain(cell) for name, cell in row.items()} for row in ranking.texts(count)]
    if look.format == "csv":
        write_csv(STDOUT, list(rows[0]), (list(row.values()) for row in rows))
    elif look.format == "json":
        echo(
            "[\n"
            + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records(rows, ranking.fields))
            + "\n]",
            lines=True,
        )
    elif look.verbose:
        _print_table(
            rows, [Shown(f.name, _of(f.name), is_text=f.kind == "text") for f in ranking.fields], max(room(), 10_000)
        )
    else:
        told = {name for row in rows for name, cell in row.items() if cell}
        offered = columns(candidates, ranking.plan.stable_at, told)
        _print_table(rows, fitting(offered, rows, room()), room())


def columns(candidates: Candidates, stable_at: float, known: set[str]) -> list[tuple[int, Shown]]:
    """Return the columns of the short table, in their order.

    The smaller the number before one, the more important it is.
    """
    names = ((2 if name == "id" else 8, Shown(name, _of(name), is_text=True)) for name in candidates.name_columns)
    numbers = (
        (3, "p_stable", f"P(≤{stable_at:g})", 3), (4, "a_angstrom", "a (Å)", 3), (5, "tolerance_factor", "t", 3),
        (7, "p_tilted", "P(tilted)", 2), (7, "p_leaves", "P(leaves)", 2), (7, "band_gap", "PBE gap (eV)", 2),
    )  # fmt: skip
    return [
        (0, Shown("rank", _of("rank"))),
        (0, Shown("formula", _of("formula"), is_text=True)),
        *names,
        (1, Shown("E_hull (eV/atom)", _energy)),
        *((2, Shown("E_yours (eV/atom)", _of(GIVEN, 3))) for name in [GIVEN] if name in known),
        *((2, Shown("E_user (eV/atom)", _of(ABOVE, 3))) for name in [ABOVE] if name in known),
        *((3, Shown("E ≥", _of(BOUND, 2))) for name in [BOUND] if name in known),
        *((place, Shown(head, _of(name, places))) for place, name, head, places in numbers if name in known),
        (6, Shown("flags", _flags, is_text=True)),
        *((7, Shown("in training", _known)) for name in ["known_e_above_hull"] if name in known),
        *(
            (REMARKS[field.name], Shown(field.name, _of(field.name), is_text=True))
            for field in candidates.remark_columns
            if field.name in known.intersection(REMARKS)
        ),
    ]


def fitting(offered: Sequence[tuple[int, Shown]], rows: Sequence[Row], width: int) -> list[Shown]:
    """Return the columns that so many characters have room for, the most important first.

    What names a candidate always.
    """
    left, kept = width, set()
    for place, column in sorted(offered, key=lambda item: item[0]):
        needed = max(cell_len(column.header), *(cell_len(column.cell(row)) for row in rows)) + GAP
        needed = min(needed, LONGEST_TEXT + GAP) if place <= 2 and column.is_text else needed
        if place > 2 and needed - GAP > left:
            break
        kept.add(column.header)
        left -= needed
    return [column for _, column in offered if column.header in kept]


def records(rows: Sequence[Row], fields: Sequence[Field]) -> list[dict[str, Any]]:
    """Write rows of the ranked CSV as JSON values: numbers, booleans, null where there is none.

    Other texts as they are.
    """
    kinds = {field.name: field.kind for field in fields}
    return [{name: _value(cell, kinds[name]) for name, cell in row.items()} for row in rows]


def _value(cell: str, kind: str) -> Any:  # a value of JSON
    if kind == "text":
        return cell
    if kind == "flag":
        return cell == "true"
    return None if not cell else int(cell) if kind == "integer" else float(cell)


def _print_table(rows: Sequence[Row], shown: Sequence[Shown], width: int) -> None:
    lines = table({column.header: "left" if column.is_text else "right" for column in shown})
    for row in rows:
        lines.add_row(*(column.cell(row) for column in shown))
    show(lines, max(width, WIDE), exactly=width)


def _of(name: str, places: int | None = None) -> Callable[[Mapping[str, str]], str]:
    def cell(row: Mapping[str, str]) -> str:
        return f"{float(row[name]):.{places}f}" if places is not None and row[name] else row[name]

    return cell


def _energy(row: Mapping[str, str]) -> str:
    return (
        f"{float(row['e_above_hull']):.3f} ± {float(row['e_above_hull_std']):.3f}"
        if row["e_above_hull_std"]
        else (f"{float(row['e_above_hull']):.3f}")
    )


def _known(row: Mapping[str, str]) -> str:
    """Return the energy of the training, with a sign where another polymorph may lie lower."""
    value = _of("known_e_above_hull", 3)(row)
    return f"≤{value}" if value and row["known_is_bound"] == "true" else value


def _flags(row: Mapping[str, str]) -> str:
    told = [word for name, (value, word) in FLAGS.items() if row.get(name) == value]
    told += ["disorder"] if row.get("b_order") == "unlikely" else []
    told += ["hull"] if float(row.get(BOUND) or 0) > DOUBTFUL else []
    is_new = row.get("in_domain") == "true" and float(row.get("domain_distance") or 0) > 0
    return ", ".join([*told, "anions"] if is_new else told)
