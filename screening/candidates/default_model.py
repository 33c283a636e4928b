"""Which model a screen takes where none is named: one for all of its candidates, so that no ranking mixes two hulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import compositions
from cgcnn.elements import MAX_Z
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.card import read_card, shipped
from screening.candidates.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from screening.candidates.listed import Listed

PREFERRED = ("castelli", "mp")
"""Shipped models, the first choice first: the narrow field before the wide one."""

ROWS_AT_ONCE = 65_536


def default_model(space: Space | Listed) -> str:
    """The first of `PREFERRED` that takes the space's prototype and knows its elements.

    It has to be trained on every element on its site, and on some set of X that is made of the space's: a model of
    oxides and oxyfluorides is not for fluorides. Where none is, it is the last that takes the prototype.

    Raises:
        UserError: No shipped model takes the prototype.
    """
    models = shipped()
    able = [name for name in PREFERRED if name in models and space.prototype in read_card(name).prototypes]
    if not able:
        raise UserError(f"no shipped model takes {space.prototype}. Name one with --model.")
    used, prototype = _elements_on_sites(space), PROTOTYPES[space.prototype]
    return next((name for name in able if _knows(name, prototype, used)), able[-1])


def _elements_on_sites(space: Space | Listed) -> NDArray[np.bool_]:
    """Whether an element occurs on a site, (n_sites, 101)."""
    used = np.zeros((len(PROTOTYPES[space.prototype].sites), MAX_Z + 1), dtype=bool)
    if isinstance(space, Space):
        choices = [factor.elements for factor in space.factors for _ in range(factor.size)]
        for site, elements in enumerate(choices):
            used[site, list(elements)] = True
        return used
    for start in range(0, space.count, ROWS_AT_ONCE):
        species = space.decode(start, min(start + ROWS_AT_ONCE, space.count))  # (n, n_sites)
        used[np.arange(len(used)), species] = True
    return used


def _knows(model: str, prototype: Prototype, used: NDArray[np.bool_]) -> bool:
    """Whether a shipped model was trained on all that is used on the sites (n_sites, 101); without torch."""
    from safetensors import safe_open  # noqa: PLC0415  # only where no model is named

    with safe_open(shipped()[model], framework="numpy") as weights:
        trained, known = (weights.get_tensor(f"domain.{name}") for name in ("trained", "known"))
    sets = compositions(known, len(prototype.sites))[:, prototype.on_x]  # (k, sites of X)
    on_x: NDArray[np.bool_] = np.any(used[prototype.on_x], axis=0)  # (101,)
    made_of_these = on_x[sets].all(axis=1)  # (k,)
    return bool(made_of_these.any() or not len(sets)) and not (used & ~trained[prototype.role_index]).any()
