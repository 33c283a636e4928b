"""What tells two models apart, and the names that their arrays have in a file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.models.card import Card
    from cgcnn.models.domain import Domain
    from cgcnn.models.likeness import Likeness
    from cgcnn.network.kernel import Weights


KEPT_LATER = frozenset({"labels", "bounds", "ids"})
"""Arrays of a domain that older models do not have."""


def named_arrays(members: Sequence[Weights], domain: Domain | Likeness | None) -> dict[str, NDArray[Any]]:
    """Every array of a model under the name that it has in the file."""
    named = {f"members.{i}.{name}": array for i, member in enumerate(members) for name, array in member.items()}
    arrays = {} if domain is None else vars(domain)
    parts = {f"domain.{name}": array for name, array in arrays.items() if name not in KEPT_LATER or len(array)}
    return {name: np.ascontiguousarray(array) for name, array in (named | parts).items()}


def digest(card: Card, members: Sequence[Weights], domain: Domain | Likeness | None) -> str:
    """Sha256 over what decides predictions: settings, calibrations, every array with its name, type and shape.

    Settings at their defaults are left out, so that a setting added later does not change the digest of older models.
    """
    defaults = asdict(Settings(targets=()))
    chosen = {name: value for name, value in asdict(card.settings).items() if value != defaults[name]}
    if card.calibrations:
        chosen["calibrations"] = [
            (c.target, c.scale, c.floor, c.factors, *((c.support, c.anions) if c.support else ()))
            for c in card.calibrations
        ]
    if card.odds:
        chosen["odds"] = [(o.target, o.power, o.factor) for o in card.odds]
    sha = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode())
    arrays = named_arrays(members, domain)
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()
