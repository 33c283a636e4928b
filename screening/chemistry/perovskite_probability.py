"""Probability that a composition, when it is made, is a perovskite.

An additive logistic model (Hastie and Tibshirani, Statist. Sci. 1986, 1, 297): the log odds are a constant plus a
function of each feature, piecewise linear between a few knots and constant outside them. It was fitted to compositions
that were made, and says nothing of whether one can be: for that there is the energy above hull. The features are
Bartel's τ, Goldschmidt's t, rB/rX, three energies that the shipped model `mp` predicts, the class of the anions, and in
each class lines for the energy above hull and the sizes: what keeps a sulphide from being a perovskite is not what
keeps an oxide. Of anions of which too few were known to fit, it says nothing.
benchmarks/perovskite_probability.py fits and judges it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, atomic_number
from cgcnn.graphs.prototype import PROTOTYPES
from screening.chemistry.ions import sites_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype

    Floats = NDArray[np.float64]

FITTED = Path(__file__).parent / "data" / "perovskite-probability.json"
ENERGIES = ("wolverton_e_above_hull", "formation_energy")
"""Targets that a model has to predict, beside the energy above hull."""
CLASSES = {"oxide": ("O",), "fluoride": ("F",), "halide": ("Cl", "Br", "I"), "chalcogenide": ("S", "Se")}
LINES = {
    "e_above_hull": (-0.05, 0.4),
    "tolerance_factor": (0.75, 1.15),
    "octahedral_factor": (0.2, 0.75),
    "tau": (2.5, 8.0),
}
"""Features with a line of their own in each class, and where it ends."""

NO_TAU = 8.0
"""Taken for τ where A is not larger than B, and the most that it counts."""


@dataclass(frozen=True)
class Additive:
    """An additive logistic model.

    Attributes:
        constant: Log odds to which the functions are added.
        knots: Feature -> where its function bends, ascending.
        values: Feature -> the function there.
        classes: Of `CLASSES`, those of which enough was known to fit.
    """

    constant: float
    knots: dict[str, tuple[float, ...]]
    values: dict[str, tuple[float, ...]]
    classes: tuple[str, ...] = tuple(CLASSES)

    def probability(self, features: Mapping[str, Floats]) -> NDArray[np.float32]:
        """(n,) from features (n,); NaN where one is NaN."""
        odds = sum(np.interp(features[name], self.knots[name], self.values[name]) for name in self.knots)
        return np.asarray(1 / (1 + np.exp(-(self.constant + odds))), dtype=np.float32)


def features_of(columns: Mapping[str, NDArray[Any]], prototype: Prototype) -> dict[str, Floats]:
    """What the model looks at, from columns of candidates (n,).

    Args:
        columns: `species` (n, n_sites), `tau`, `tolerance_factor`, `octahedral_factor`, `e_above_hull` and those of
            `ENERGIES`, eV/atom.
        prototype: Of the candidates.
    """
    names = ("tolerance_factor", "octahedral_factor", "e_above_hull", *ENERGIES)
    found = {name: np.asarray(columns[name], dtype=np.float64) for name in names}
    found["tau"] = np.nan_to_num(np.asarray(columns["tau"], dtype=np.float64), nan=NO_TAU).clip(max=NO_TAU)
    lines = {name: np.interp(found[name], ends, (-1.0, 1.0)) for name, ends in LINES.items()}
    for kind, share in class_shares(columns["species"], prototype).items():
        found |= {kind: share} | {f"{name}, {kind}": share * line for name, line in lines.items()}
    return found


def class_shares(species: NDArray[np.uint8], prototype: Prototype) -> dict[str, Floats]:
    """Class -> its share of the anions (n,)."""
    on_x = species[:, sites_of("X", prototype)]
    return {kind: _members(kind)[on_x].mean(axis=1) for kind in CLASSES}


@cache
def _members(kind: str) -> Floats:
    """(101,) 1 for the elements of a class."""
    found = np.zeros(MAX_Z + 1)
    found[[atomic_number(symbol) for symbol in CLASSES[kind]]] = 1.0
    return found


def p_perovskite(columns: Mapping[str, NDArray[Any]], prototype: str) -> NDArray[np.float32]:
    """(n,) the probability, from columns of candidates of a prototype, see `features_of`.

    NaN where an anion is of no class that the model was fitted to.
    """
    model, features = fitted()[prototype], features_of(columns, PROTOTYPES[prototype])
    covered = np.sum([features[kind] for kind in model.classes], axis=0) > 1 - 1e-6
    return np.where(covered, model.probability(features), np.float32(np.nan)).astype(np.float32)


@cache
def fitted() -> dict[str, Additive]:
    """Prototype -> the model for its candidates."""
    found = json.loads(FITTED.read_text(encoding="utf-8"))
    return {prototype: _model(content) for prototype, content in found.items()}


def _model(content: dict[str, Any]) -> Additive:
    knots, values = ({name: tuple(row) for name, row in content[key].items()} for key in ("knots", "values"))
    return Additive(float(content["constant"]), knots, values, tuple(content.get("classes", CLASSES)))


def to_json(models: Mapping[str, Additive]) -> str:
    """What `fitted` reads."""
    return json.dumps({prototype: asdict(model) for prototype, model in models.items()}, indent=1) + "\n"
