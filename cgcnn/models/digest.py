"""What tells two models apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cgcnn.models.card import Card


def digest(card: Card, arrays: Mapping[str, np.ndarray]) -> str:
    """Sha256 over what decides predictions: settings, calibrations, every array with its name, type and shape.

    Settings at their defaults are left out, so that a setting added later does not change the digest of older models.
    """
    defaults = asdict(Settings(targets=()))
    chosen = {name: value for name, value in asdict(card.settings).items() if value != defaults[name]}
    if card.calibrations:
        chosen["calibrations"] = [(c.target, c.scale, c.floor, c.factors) for c in card.calibrations]
    sha = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode())
    for name in sorted(arrays):
        sha.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()
