"""Probability that a composition, when it is made, is a perovskite.

An additive logistic model (Hastie and Tibshirani, Statist. Sci. 1986, 1, 297): the log odds are a constant plus a
function of each feature, piecewise linear between a few knots and constant outside them. It was fitted to compositions
that were made, and says nothing of whether one can be: for that there is the energy above hull. The features are
Bartel's τ, Goldschmidt's t, rB/rX, and two energies that the shipped model `mp` predicts.
benchmarks/perovskite_probability.py fits and judges it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FITTED = Path(__file__).parent / "data" / "perovskite-probability.json"
ENERGIES = ("wolverton_e_above_hull", "formation_energy")
"""Targets that a model has to predict."""

NO_TAU = 8.0
"""Taken for τ where A is not larger than B, and the most that it counts."""


@dataclass(frozen=True)
class Additive:
    """An additive logistic model.

    Attributes:
        constant: Log odds to which the functions are added.
        knots: Feature -> where its function bends, ascending.
        values: Feature -> the function there.
    """

    constant: float
    knots: dict[str, tuple[float, ...]]
    values: dict[str, tuple[float, ...]]

    def probability(self, features: Mapping[str, Floats]) -> NDArray[np.float32]:
        """(n,) from features (n,); NaN where one is NaN."""
        odds = sum(np.interp(features[name], self.knots[name], self.values[name]) for name in self.knots)
        return np.asarray(1 / (1 + np.exp(-(self.constant + odds))), dtype=np.float32)


def features_of(columns: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
    """What the model looks at, from columns of candidates (n,).

    Args:
        columns: `tau`, `tolerance_factor`, `octahedral_factor`, and those of `ENERGIES`, eV/atom.
    """
    found = {name: np.asarray(columns[name], dtype=np.float64) for name in ("tolerance_factor", "octahedral_factor")}
    tau = np.nan_to_num(np.asarray(columns["tau"], dtype=np.float64), nan=NO_TAU).clip(max=NO_TAU)
    return {"tau": tau, **found, **{name: np.asarray(columns[name], dtype=np.float64) for name in ENERGIES}}


def p_perovskite(columns: Mapping[str, NDArray[Any]], prototype: str) -> NDArray[np.float32]:
    """(n,) the probability, from columns of candidates of a prototype; see `features_of`."""
    return fitted()[prototype].probability(features_of(columns))


@cache
def fitted() -> dict[str, Additive]:
    """Prototype -> the model for its candidates."""
    found = json.loads(FITTED.read_text(encoding="utf-8"))
    return {prototype: _model(content) for prototype, content in found.items()}


def _model(content: dict[str, Any]) -> Additive:
    knots, values = ({name: tuple(row) for name, row in content[key].items()} for key in ("knots", "values"))
    return Additive(float(content["constant"]), knots, values)


def to_json(models: Mapping[str, Additive]) -> str:
    """What `fitted` reads."""
    return json.dumps({prototype: asdict(model) for prototype, model in models.items()}, indent=1) + "\n"
