"""A candidate explained on stdout, in words and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screening.cli.terminal import show, table
from screening.explain import explain_candidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from screening.explain import Explanation, Substitution


def print_explanation(url: str, named: str) -> None:
    """Print why a candidate of a run has its energy.

    Raises:
        UserError: As `screening.explain.explain_candidate`.
    """
    told = explain_candidate(url, named)
    energy = f"{told.energy:.3f} ± {told.deviation:.3f} eV/atom above hull ({told.model})"
    show(f"{told.formula}, candidate {told.index}: {energy}")
    for remark in _remarks(told):
        show(f"  {remark}")
    if told.contributions:
        show("")
        show("What each element contributes: the energy less the median with another element of the training there")
        lines = table({"site": "left", "element": "left", "eV/atom": "right", "place": "right"})
        for part in told.contributions:
            lines.add_row(part.role, part.element, f"{part.energy:+.3f}", f"{part.place} of {part.others}")
        show(lines)
    _print_exchanges("What would lower it: other elements that balance, the lowest first", told.better)
    _print_exchanges("Neighbours in the training: one element exchanged, the nearest in energy first", told.neighbours)


def _remarks(told: Explanation) -> list[str]:
    remarks = ["the model was trained on this very composition"] if told.known else []
    if not told.in_domain:
        remarks.append("an element that the model never saw on this site: no figure here means much")
    elif told.distance > 0:
        remarks.append("elements on X that the model never saw together: expect larger errors")
    return [*remarks, *([] if told.balanced else ["no oxidation states balance"])]


def _print_exchanges(title: str, exchanges: Sequence[Substitution]) -> None:
    if not exchanges:
        return
    show("")
    show(title)
    lines = table({"formula": "left", "exchange": "left", "E_hull (eV/atom)": "right", "in the training": "right"})
    for found in exchanges:
        label = "" if not found.known else "known" if found.label != found.label else f"{found.label:.3f}"  # NaN
        change = f"{found.role}: {found.removed} → {found.put}"
        lines.add_row(found.formula, change, f"{found.energy:.3f} ± {found.deviation:.3f}", label)
    show(lines)
