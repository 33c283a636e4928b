"""What is shipped: models and recipes, as lists for the terminal. Needs neither torch nor dask."""

import tomllib

from cgcnn.card import read_card, shipped
from cgcnn.resources import recipes
from screening.terminal import show, table


def list_models() -> None:
    """Print each shipped model with what it takes, its hull, and the errors of its main target."""
    models = table(dict.fromkeys(("model", "takes", "predicts", "error", "measured on", "hull"), "left"))
    for name in shipped():
        card = read_card(name)
        target = card.targets[0].name
        figures = [metric for metric in card.metrics if metric.target == target]
        first = (card.name, f"{card.input}: {card.prototype}" if card.prototype else card.input, target)
        for figure in figures:
            error = f"{figure.metric} {figure.value:.3f} {figure.unit}"
            models.add_row(*first, error, figure.split, card.hull if first[0] else "")
            first = ("", "", "")
    show(models)
    show("`cgcnn card NAME` shows a whole card: data, labels, hull, split, every figure, known weaknesses.")


def list_recipes() -> None:
    """Print each shipped recipe with its purpose and how to run it."""
    shown = table(dict.fromkeys(("recipe", "command", "purpose"), "left"))
    for name, path in recipes().items():
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        command = f"screen run {name}" if "kind" in recipe else f"cgcnn train DATA --recipe {name} -o MODEL"
        shown.add_row(name, command, recipe.get("summary", ""))
    show(shown)
