"""Which model a screen takes where none is named: one for all of its candidates, so that no ranking mixes two hulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.models.card import read_card, shipped

if TYPE_CHECKING:
    from screening.candidates.kind import Candidates

RULE = "mp; castelli where elements mix on X; mp-structures for structures"
"""The rule in words. It does not ask which elements there are: naming one more changes neither model nor hull."""

PREFERRED = ("mp", "castelli", "mp-structures", "castelli-relaxed")


def default_model(candidates: Candidates) -> str:
    """The model by `RULE`; where that is not shipped, the first of `PREFERRED` that takes the candidates.

    Raises:
        UserError: No shipped model takes them.
    """
    there = shipped()
    order = sorted(PREFERRED, key=lambda name: name != "castelli") if candidates.mixes_anions else PREFERRED
    for name in order:
        if name in there and not candidates.unfit(read_card(name)):
            return name
    raise UserError("no shipped model takes these candidates. Name a `model`.")
