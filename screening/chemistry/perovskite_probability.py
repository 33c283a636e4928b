"""Probability that a composition, when it is made, is a perovskite.

An additive logistic model (Hastie and Tibshirani, Statist. Sci. 1986, 1, 297): the log odds are a constant plus a
function of each feature, piecewise linear between a few knots and constant outside them, plus what is known of similar
compositions: a Gaussian process over which elements are on which site and their sizes, which is 0 far from all
that were made (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 3.4). Energies enter by
the functions alone, so that a higher one never raises it. It was fitted to compositions
that were made, and says nothing of whether one can be: for that there is the energy above hull. The features are
Bartel's τ, Goldschmidt's t, rB/rX, three energies that the shipped model `mp` predicts, the class of the anions, and in
each class lines for the energy above hull and the sizes: what keeps a sulphide from being a perovskite is not what
keeps an oxide. Of anions of which too few were known to fit, it says nothing.
benchmarks/perovskite_probability.py fits and judges it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, atomic_number
from cgcnn.graphs.prototype import PROTOTYPES
from screening.chemistry.ions import electronegativities, sites_of

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

FAMILIES = (
    "H", "Li Na K Rb Cs Fr", "Be Mg Ca Sr Ba Ra", "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu", "Sc Y",
    "Ti Zr Hf V Nb Ta Cr Mo W", "Mn Tc Re Fe Ru Os Co Rh Ir Ni Pd Pt", "Cu Ag Au", "Zn Cd Hg", "B Al Ga In Tl",
    "C Si Ge Sn Pb", "N P As Sb Bi O S Se Te F Cl Br I",
)  # fmt: skip
"""Elements that are alike on a site; those of no family, such as the actinides, are alike too."""
UNLIKELY, SURE = 0.05, 1e-4
"""Energy above hull, eV/atom, that makes a compound less likely by a factor of e; the least probability that counts.

On the experimental lists, five folds by formula, held-out energies, AUC of `promise` is 0.97 where that of the energy
is 0.82 and that of `p_stable`, then `tau`, 0.86; with 0.1 eV/atom it is the same."""
SCALES = (0.06, 0.08)
RADIUS, ELECTRONEGATIVITY = 0.13, 0.3
"""Differences of t and rB/rX, of radii on a site in Å and of electronegativities, that count as 1."""
LEAST = np.float32(-60.0)  # numbers whose exponent float32 cannot hold are slow
AT_ONCE = 1024
"""Compositions compared at once, so that what is worked out stays near the processor."""
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
        similar: Compositions of which something is known: species, t and rB/rX of each.
        weights: How much being like each adds to the log odds.
        prototype: Of these compositions.
    """

    constant: float
    knots: dict[str, tuple[float, ...]]
    values: dict[str, tuple[float, ...]]
    classes: tuple[str, ...] = tuple(CLASSES)
    similar: tuple[tuple[float, ...], ...] = ()
    weights: tuple[float, ...] = ()
    prototype: str = ""

    @cached_property
    def places(self) -> NDArray[np.float32]:
        """(k, 13) where the similar compositions are, see `places_of`."""
        rows = np.array(self.similar)
        return places_of(rows[:, :-2].astype(np.uint8), rows[:, -2], rows[:, -1], PROTOTYPES[self.prototype])

    def probability(self, features: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Compute probabilities (n,) from features (n,) and, with similar compositions, `place` (n, 13).

        NaN where one is NaN.
        """
        parts = [np.interp(features[name], self.knots[name], self.values[name]) for name in self.knots]
        odds: Floats = np.sum(parts, axis=0)
        if self.similar:
            odds = odds + self._of_similar(features["place"])
        return np.asarray(1 / (1 + np.exp(-(self.constant + odds))), dtype=np.float32)

    def _of_similar(self, places: NDArray[np.float32]) -> Floats:
        """Compute what similar compositions add to the log odds, (n,)."""
        weights, found = np.array(self.weights, dtype=np.float32), np.empty(len(places))
        for start in range(0, len(places), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found[part] = np.einsum("nk,k->n", likeness(places[part], self.places), weights)
        return found


def features_of(columns: Mapping[str, NDArray[Any]], prototype: Prototype) -> dict[str, NDArray[Any]]:
    """Compute what the model looks at, from columns of candidates (n,): features (n,), and their `place` (n, 13).

    Args:
        columns: `species` (n, n_sites), `tau`, `tolerance_factor`, `octahedral_factor`, `e_above_hull` and those of
            `ENERGIES`, eV/atom.
        prototype: Of the candidates.
    """
    names = ("tolerance_factor", "octahedral_factor", "e_above_hull", *ENERGIES)
    found: dict[str, NDArray[Any]] = {name: np.asarray(columns[name], dtype=np.float64) for name in names}
    found["tau"] = np.nan_to_num(np.asarray(columns["tau"], dtype=np.float64), nan=NO_TAU).clip(max=NO_TAU)
    found["place"] = places_of(columns["species"], found["tolerance_factor"], found["octahedral_factor"], prototype)
    lines = {name: np.interp(found[name], ends, (-1.0, 1.0)) for name, ends in LINES.items()}
    for kind, share in class_shares(columns["species"], prototype).items():
        found |= {kind: share} | {f"{name}, {kind}": share * line for name, line in lines.items()}
    return found


def class_shares(species: NDArray[np.uint8], prototype: Prototype) -> dict[str, Floats]:
    """Compute the share of each class among the anions, (n,)."""
    on_x = species[:, sites_of("X", prototype)]
    return {kind: _members(kind)[on_x].mean(axis=1) for kind in CLASSES}


def places_of(
    species: NDArray[np.uint8], tolerance_factor: Floats, octahedral_factor: Floats, prototype: Prototype
) -> NDArray[np.float32]:
    """Return (n, 13) what says how alike compositions are.

    T, rB/rX, atomic numbers on A, B and B', shares of eight anions.

    Args:
        species: (n, n_sites).
        tolerance_factor: (n,) t.
        octahedral_factor: (n,) rB/rX.
        prototype: Of the compositions.
    """
    b = species[:, sites_of("B", prototype)]
    order = _elements()[b, 0].argsort(axis=1, kind="stable")  # B and B' have none of their own
    b = np.take_along_axis(b, order, axis=1)
    sites = [species[:, sites_of("A", prototype)[0]], b[:, 0], b[:, -1]]
    shares = _anions()[species[:, sites_of("X", prototype)]].mean(axis=1)
    return np.column_stack([tolerance_factor, octahedral_factor, *sites, shares]).astype(np.float32)


def likeness(places: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n, k) how alike compositions at places (n, 13) and others (k, 13) are: from 0 to 1, which is the same.

    A row gets the same bits whatever rows are beside it, so there is no product of matrices in it.
    """
    found = np.zeros((len(places), len(others)), dtype=np.float32)
    for column, scale in enumerate(SCALES):
        apart = (places[:, column] / np.float32(scale))[:, None] - others[:, column] / np.float32(scale)
        found += np.square(apart, out=apart)
    for column in (2, 3, 4):
        found += _unlike()[:, others[:, column].astype(np.intp)][places[:, column].astype(np.intp)]
    anions, which = np.unique(places[:, 5:], axis=0, return_inverse=True)
    found += np.square(anions[:, None] - others[:, 5:]).sum(axis=2)[which.reshape(-1)]
    found *= np.float32(-0.5)
    return np.exp(np.maximum(found, LEAST, out=found), out=found)


@cache
def _unlike() -> NDArray[np.float32]:
    """Return (101, 101) squared distance of two elements on a site."""
    table = _elements()
    return np.asarray(np.square(table[:, None] - table).sum(axis=2), dtype=np.float32)


@cache
def _elements() -> NDArray[np.float32]:
    """Return (101, d) radius and electronegativity of each element, scaled, and its family."""
    from pymatgen.core.periodic_table import Element

    families = np.zeros((MAX_Z + 1, len(FAMILIES)))
    for at, family in enumerate(FAMILIES):
        families[[atomic_number(symbol) for symbol in family.split()], at] = 1.0
    ions = [list(Element.from_Z(z).ionic_radii.values()) for z in range(1, MAX_Z + 1)]
    radii = np.array([1.0, *(float(np.mean(radii)) if radii else 1.0 for radii in ions)])
    pull = np.nan_to_num(electronegativities(), nan=1.2)
    scaled = np.column_stack([radii / RADIUS, pull / ELECTRONEGATIVITY])
    return np.hstack([scaled, families]).astype(np.float32)


@cache
def _anions() -> NDArray[np.float32]:
    """Return (101, 8) which anion an element is; others are one."""
    found = np.zeros((MAX_Z + 1, 8), dtype=np.float32)
    found[:, -1] = 1.0
    for at, symbol in enumerate(symbol for symbols in CLASSES.values() for symbol in symbols):
        found[atomic_number(symbol)] = np.eye(8)[at]
    return found


@cache
def _members(kind: str) -> Floats:
    """Return (101,) 1 for the elements of a class."""
    found = np.zeros(MAX_Z + 1)
    found[[atomic_number(symbol) for symbol in CLASSES[kind]]] = 1.0
    return found


def p_perovskite(columns: Mapping[str, NDArray[Any]], prototype: str) -> NDArray[np.float32]:
    """Compute the probability (n,) from columns of candidates of a prototype, see `features_of`.

    NaN where an anion is of no class that the model was fitted to.
    """
    model, features = fitted()[prototype], features_of(columns, PROTOTYPES[prototype])
    covered = np.sum([features[kind] for kind in model.classes], axis=0) > 1 - 1e-6
    return np.where(covered, model.probability(features), np.float32(np.nan)).astype(np.float32)


def promise(p: NDArray[np.floating[Any]], e_above_hull: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Compute what to rank by, (n,): log odds of a perovskite, when made, less 1 for each 0.05 eV/atom above the hull.

    Odds of which nothing is known, as of nitrides, count as even.

    Args:
        p: (n,) `p_perovskite`; NaN where nothing is known.
        e_above_hull: (n,) eV/atom.
    """
    odds = np.nan_to_num(p.astype(np.float64), nan=0.5).clip(SURE, 1 - SURE)
    return np.asarray(np.log(odds / (1 - odds)) - e_above_hull / UNLIKELY, dtype=np.float32)


@cache
def fitted() -> dict[str, Additive]:
    """Prototype -> the model for its candidates."""
    found = json.loads(FITTED.read_text(encoding="utf-8"))
    return {prototype: _model(content) for prototype, content in found.items()}


def _model(content: dict[str, Any]) -> Additive:
    knots, values = ({name: tuple(row) for name, row in content[key].items()} for key in ("knots", "values"))
    similar = tuple(map(tuple, content.get("similar", ())))
    classes, weights = (tuple(content.get(name, default)) for name, default in (("classes", CLASSES), ("weights", ())))
    return Additive(float(content["constant"]), knots, values, classes, similar, weights, content.get("prototype", ""))


def to_json(models: Mapping[str, Additive]) -> str:
    """Write the JSON text that `fitted` reads."""
    text = json.dumps({prototype: asdict(model) for prototype, model in models.items()}, indent=1)
    return re.sub(r"\s*\n\s+(?=[-\d\]])", " ", text) + "\n"  # numbers of a list on one line
