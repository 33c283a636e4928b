"""Which model a screen takes where none is named: one for all of its candidates, so that no ranking mixes two hulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import compositions
from cgcnn.errors import UserError
from cgcnn.models.card import read_card, shipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from screening.candidates.kind import Compositions

PREFERRED = ("castelli", "mp")
"""Shipped models, the first choice first: the narrow field before the wide one."""


def default_model(candidates: Compositions) -> str:
    """The first of `PREFERRED` that takes the candidates' prototype and knows its elements.

    It has to be trained on every element on its site, and on some set of X that is made of theirs: a model of
    oxides and oxyfluorides is not for fluorides. Where none is, it is the last that takes the prototype.

    Raises:
        UserError: No shipped model takes the prototype.
    """
    models = shipped()
    able = [name for name in PREFERRED if name in models and candidates.prototype in read_card(name).prototypes]
    if not able:
        raise UserError(f"no shipped model takes {candidates.prototype}. Name a `model`.")
    used = candidates.elements_on_sites()
    return next((name for name in able if _knows(name, candidates.ideal, used)), able[-1])


def _knows(model: str, prototype: Prototype, used: NDArray[np.bool_]) -> bool:
    """Whether a shipped model was trained on all that is used on the sites (n_sites, 101); without torch."""
    from safetensors import safe_open  # noqa: PLC0415  # only where no model is named

    with safe_open(shipped()[model], framework="numpy") as weights:
        trained, known = (weights.get_tensor(f"domain.{name}") for name in ("trained", "known"))
    sets = compositions(known, len(prototype.sites))[:, prototype.on_x]  # (k, sites of X)
    on_x: NDArray[np.bool_] = np.any(used[prototype.on_x], axis=0)  # (101,)
    made_of_these = on_x[sets].all(axis=1)  # (k,)
    return bool(made_of_these.any() or not len(sets)) and not (used & ~trained[prototype.role_index]).any()
