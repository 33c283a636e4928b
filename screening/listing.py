"""What is shipped: models and recipes, as lists for the terminal. Needs neither torch nor dask."""

import tomllib

from rich.console import Console
from rich.table import Table

from cgcnn.card import read_card, shipped
from cgcnn.resources import recipes


def list_models() -> None:
    """Print each shipped model with what it takes, what its labels are, and its errors."""
    table = Table(box=None, pad_edge=False)
    for header in ("model", "takes", "target", "metric", "value", "unit", "measured on"):
        table.add_column(header, overflow="fold")
    for name in shipped():
        card = read_card(name)
        for i, metric in enumerate(card.metrics):
            first = (card.name, card.prototype or card.input) if i == 0 else ("", "")
            table.add_row(*first, metric.target, metric.metric, f"{metric.value:g}", metric.unit, metric.split)
    _print(table)
    Console(soft_wrap=True).print("`cgcnn card NAME` shows a whole card: data, labels, hull, split, known weaknesses.")


def list_recipes() -> None:
    """Print each shipped recipe with its purpose and how to run it."""
    table = Table(box=None, pad_edge=False)
    for header in ("recipe", "command", "purpose"):
        table.add_column(header, overflow="fold")
    for name, path in recipes().items():
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        command = f"screen run {name}" if "kind" in recipe else f"cgcnn train DATA --recipe {name} -o MODEL"
        table.add_row(name, command, recipe.get("summary", ""))
    _print(table)


def _print(table: Table) -> None:
    console = Console()
    console.print(table, width=console.width if console.is_terminal else 200)
