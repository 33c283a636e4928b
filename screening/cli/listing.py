"""What is shipped: models and recipes, as lists for the terminal. Needs neither torch nor dask."""

from __future__ import annotations

import tomllib

from cgcnn.files import recipes
from cgcnn.models.card import Card, read_card, shipped
from screening.chemistry.filters import explain_filters
from screening.chemistry.groups import GROUPS
from screening.cli.terminal import show, table
from screening.recipe import DEFAULT_FILTERS


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
    """The main target and its first kind of figure, on each split."""
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
