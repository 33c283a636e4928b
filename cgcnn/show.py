"""Cards as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from cgcnn.card import Card


def show_card(card: Card) -> None:
    """Print a card to stdout."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(card):
        table.add_row(name, value)
    Console(soft_wrap=False, highlight=False).print(table)


def _rows(card: Card) -> list[tuple[str, str]]:
    return [
        ("model", f"{card.name} (version {card.version}, {card.members} members)"),
        ("summary", card.summary),
        ("input", ": ".join(filter(None, [card.input, ", ".join(card.prototypes)]))),
        *(
            ("target", f"{t.name} ({t.unit or 'no unit'}){': ' + t.description if t.description else ''}")
            for t in card.targets
        ),
        ("label", card.label),
        ("hull", card.hull),
        ("data", f"{card.data}; {card.training_size} rows trained on"),
        ("split", card.split),
        *((m.metric, f"{m.target}: {m.value:.4f} {m.unit} on {m.split}; {m.input} input") for m in card.metrics),
        *(
            ("std", f"{c.target}: √(({c.scale:.3g} x spread)² + {c.floor:.3g}²), found on {c.split}")
            for c in card.calibrations
        ),
        *(("compare", text) for text in card.peers),
        *(("weakness", text) for text in card.weaknesses),
        ("retrain", card.recipe),
        ("licence", card.licence),
        ("settings", ", ".join(f"{k}={v}" for k, v in vars(card.settings).items() if k != "targets")),
        ("digest", card.digest),
    ]
