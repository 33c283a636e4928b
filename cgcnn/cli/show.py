"""Cards as text for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from cgcnn.models.card import Calibration, Card


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
        *([("elements", ", ".join(card.elements))] if card.elements else []),
        *(
            ("target", f"{t.name} ({t.unit or 'no unit'}){': ' + t.description if t.description else ''}")
            for t in card.targets
        ),
        ("label", card.label),
        ("hull", card.hull),
        *([("source", card.source)] if card.source else []),
        ("data", f"{card.data}; {card.training_size} rows trained on"),
        ("split", card.split),
        *_figures(card),
        *(("std", f"{c.target}: {_deviation(c)}, found on {c.split}") for c in card.calibrations),
        *(("odds", f"{o.target}: {o.factor:.3g} x odds^{o.power:.3g}, found on {o.split}") for o in card.odds),
        *(("reliability", text) for c in card.calibrations if (text := reliability(c))),
        *(("compare", text) for text in card.peers),
        *(("weakness", text) for text in card.weaknesses),
        ("retrain", card.recipe),
        ("licence", card.licence),
        ("settings", ", ".join(f"{k}={v}" for k, v in vars(card.settings).items() if k != "targets")),
        ("digest", card.digest),
    ]


def _figures(card: Card) -> list[tuple[str, str]]:
    """For each part of the rows that was measured a line that names it, and a line for each target."""
    lines = []
    for split, kind in dict.fromkeys((metric.split, metric.input) for metric in card.metrics):
        lines.append(("measured on", f"{split}; {kind} input"))
        mine = [metric for metric in card.metrics if (metric.split, metric.input) == (split, kind)]
        for target in dict.fromkeys(metric.target for metric in mine):
            told = [f"{m.metric} {m.value:.4f} {m.unit}".rstrip() for m in mine if m.target == target]
            lines.append((f"  {target}", "; ".join(told)))
    return lines


def _deviation(calibration: Calibration) -> str:
    if calibration.support:
        spread, *_ = calibration.support[1:]
        return f"by the spread to the power of {spread:.2g}, the size, and how many training rows support each site"
    plain = f"√(({calibration.scale:.3g} x spread)² + {calibration.floor:.3g}²)"
    return plain + _factors(calibration)


def _factors(calibration: Calibration) -> str:
    factors = [factor for role in calibration.factors.values() for factor in role.values()]
    return f" x {min(factors):.2g} to {max(factors):.2g} by the elements" if factors else ""


def reliability(calibration: Calibration) -> str:
    """How often labels were inside intervals; empty where that is not known."""
    if not calibration.held:
        return ""
    held = ", ".join(f"{100 * level:g} % held {100 * share:.0f} %" for level, share in calibration.held.items())
    ends = calibration.by_element
    elements = f"; element by element 90 % held {100 * ends[0]:.0f} to {100 * ends[1]:.0f} %" if ends else ""
    return (
        f"{calibration.target}: intervals of {held}{elements}; each fifth of the rows with deviations from the others"
    )
