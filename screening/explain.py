"""Explanations: what each site contributes to a prediction, and what replacing an element would change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from cgcnn.data.overwriting import Output, refuse_overwriting
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import whole_number, write_csv
from cgcnn.inference.explain import MAPS, check_explains, explain, predictions, site_contributions
from cgcnn.models.card import model_files, weights_path
from cgcnn.models.files import load
from screening.candidates.texts import formulas
from screening.chemistry.descriptors import columns as describe
from screening.engine.score import load_model
from screening.plan import plan_of
from screening.ranking.outputs import Outputs, rank_run
from screening.recipe import SHOWN
from screening.store import StoredRun, exists

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.models.model import Model, PrototypeModel
    from screening.candidates.compositions import Compositions, Species
    from screening.plan import Plan
    from screening.ranking.table import Ranking


SOME = 5
"""Substitutions and neighbours of an explanation."""
PART = re.compile(r"([A-Z][a-z]?)([0-9]{0,9})")


@dataclass(frozen=True)
class Substitution:
    """A candidate with one element replaced.

    Attributes:
        formula: Its new formula.
        role: Role of the replaced element: "A", "B" or "X".
        removed: Symbol of that element.
        put: Symbol of the new element.
        energy: Predicted energy above hull, eV/atom.
        deviation: Its standard deviation, eV/atom.
        balanced: Whether some oxidation states balance.
        known: Whether the model was trained on it.
        label: Its energy in the training, eV/atom; NaN if the model does not store it.
    """

    formula: str
    role: str
    removed: str
    put: str
    energy: float
    deviation: float
    balanced: bool
    known: bool
    label: float


@dataclass(frozen=True)
class Contribution:
    """The contribution of an element on its sites.

    Attributes:
        role: "A", "B" or "X".
        element: Its symbol.
        energy: Energy of the candidate less the median over the elements that could replace this one, eV/atom;
            negative if this one is good there.
        place: Place of this element among them, from 1, the lowest energy.
        others: Number of these elements.
    """

    role: str
    element: str
    energy: float
    place: int
    others: int


@dataclass(frozen=True)
class Explanation:
    """An explained candidate.

    Attributes:
        index: Its number in the run.
        formula: Its formula.
        model: Name of the model.
        energy: Predicted energy above hull, eV/atom.
        deviation: Its standard deviation, eV/atom.
        balanced: Whether some oxidation states balance.
        in_domain: Whether the model was trained on each element on its site.
        known: Whether it was trained on this very composition.
        distance: How new its newest element, or X as a whole, is to the model; see `domain_distance` of a ranking.
        contributions: Contributions of the elements, the most favourable first.
        better: Substitutions that balance and lower the energy, the lowest first.
        neighbours: Substitutions that the model was trained on, the nearest in energy first.
    """

    index: int
    formula: str
    model: str
    energy: float
    deviation: float
    balanced: bool
    in_domain: bool
    known: bool
    distance: float
    contributions: tuple[Contribution, ...]
    better: tuple[Substitution, ...]
    neighbours: tuple[Substitution, ...]


def explain_candidate(url: str, named: str) -> Explanation:
    """Explain a candidate of a run by replacing its elements, one at a time.

    Args:
        url: Path or URL of the run.
        named: The candidate's index, formula, or id.

    Raises:
        UserError: There is no such run or candidate, several have this formula, the model is gone, or the candidates
            are structures, which have no sites.
    """
    any_plan = plan_of(url)
    if not any_plan.candidates.site_groups:
        raise UserError(f"{url}: its candidates are structures, which have no sites whose elements could be replaced.")
    plan = cast("Plan[Compositions]", any_plan)
    index = find_candidate(plan.candidates, named)
    model = cast("PrototypeModel", load_model(plan))
    if model.digest != plan.model.digest:
        raise UserError(f"{plan.model.path}: no longer the model that made {url}. Put that one back.")
    return _explained(plan, model, index)


def find_candidate(candidates: Compositions, named: str) -> int:
    """Find a candidate by index, id or formula, and return its index.

    Raises:
        UserError: There is no such candidate, or several have this formula.
    """
    number = whole_number(named)
    if number is not None and number < candidates.count:
        return number
    found = [*_with_id(candidates, named), *_with_formula(candidates, named)]
    if not found:
        raise UserError(f"{named}: no candidate of this run has this index, formula or id.")
    if len(found) > 1:
        raise UserError(f"{named}: {len(found)} candidates; name one by its index: {', '.join(map(str, found[:9]))}.")
    return found[0]


def _with_id(candidates: Compositions, named: str) -> Iterator[int]:
    if "id" in candidates.text_columns:
        place = candidates.text_columns.index("id")
        for index, texts in candidates.texts(range(candidates.count)).items():
            if texts[place] == named:
                yield index


def _with_formula(candidates: Compositions, named: str) -> Iterator[int]:
    """Find the candidates with these elements in these numbers, in any order."""
    parts = PART.findall(named)
    if "".join(symbol + count for symbol, count in parts) != named or not {s for s, _ in parts} <= set(SYMBOLS[1:]):
        return
    wanted = np.zeros(MAX_Z + 1, dtype=np.int64)
    for symbol, count in parts:
        wanted[SYMBOLS.index(symbol)] += int(count or 1)
    atoms, step = np.bincount(candidates.ideal.atoms), candidates.grain.sifted
    for start in range(0, candidates.count, step):
        species = candidates.decode(start, min(start + step, candidates.count))
        fits = np.ones(len(species), dtype=bool)
        for z in np.flatnonzero(wanted):
            fits &= ((species == z) * atoms).sum(axis=1) == wanted[z]
        yield from (start + i for i in np.flatnonzero(fits & (wanted.sum() == atoms.sum())).tolist())


def _explained(plan: Plan[Compositions], model: PrototypeModel, index: int) -> Explanation:
    ideal, own = plan.candidates.ideal, plan.candidates.decode(index, index + 1)
    if not own.all():
        raise UserError(f"candidate {index}: {plan.candidates.unusable(index, index + 1)[index]}")
    groups = _groups(plan.candidates, own[0])
    parts = [_exchanges(model, own[0], sites) for _, _, sites in groups]
    species = np.concatenate([own, *parts])
    energy, deviation = model.predict(species)["e_above_hull"]
    balanced = describe(species, ideal, plan.states)["charge_balanced"]
    known, labels = model.known(species), model.known_labels(species, "e_above_hull")
    names = formulas(species, ideal).to_pylist()
    contributions, exchanged, start = [], [], 1
    for (role, z, sites), part in zip(groups, parts, strict=True):
        rows = range(start, start := start + len(part))
        if part.size:
            contributions.append(_contribution(role, z, float(energy[0]), energy[rows.start : rows.stop]))
        for i in rows:
            which = names[i], role, SYMBOLS[z], SYMBOLS[species[i, sites[0]]]
            whether = bool(balanced[i]), bool(known[i])
            exchanged.append(Substitution(*which, float(energy[i]), float(deviation[i]), *whether, float(labels[i])))
    better = sorted((e for e in exchanged if e.balanced and e.energy < energy[0]), key=lambda e: e.energy)
    neighbours = sorted((e for e in exchanged if e.known), key=lambda e: abs(e.energy - float(energy[0])))
    return Explanation(
        index=index,
        formula=names[0],
        model=plan.model.name,
        energy=float(energy[0]),
        deviation=float(deviation[0]),
        balanced=bool(balanced[0]),
        in_domain=bool(model.in_domain(own)[0]),
        known=bool(known[0]),
        distance=float(model.domain_distance(own)[0]),
        contributions=tuple(sorted(contributions, key=lambda c: c.energy)),
        better=tuple(better[:SOME]),
        neighbours=tuple(neighbours[:SOME]),
    )


def _contribution(role: str, z: int, energy: float, others: NDArray[np.float32]) -> Contribution:
    less = energy - float(np.median(others))
    return Contribution(role, SYMBOLS[z], less, int((others < energy).sum()) + 1, len(others) + 1)


def _groups(candidates: Compositions, species: NDArray[np.uint8]) -> list[tuple[str, int, list[int]]]:
    """List role, atomic number and sites of each element in each role."""
    found: dict[tuple[str, int], list[int]] = {}
    for site, (role, z) in enumerate(zip(candidates.ideal.roles, species.tolist(), strict=True)):
        found.setdefault((role, z), []).append(site)
    return [(role, z, sites) for (role, z), sites in found.items()]


def _exchanges(model: PrototypeModel, species: NDArray[np.uint8], sites: Sequence[int]) -> Species:
    """Replace the element on these sites by each other one that the model was trained on there, one a row."""
    rows = np.repeat(species[None], MAX_Z, axis=0)
    rows[:, sites] = np.arange(1, MAX_Z + 1)[:, None]
    distinct = (rows != species).any(axis=1)
    pair = [site for site, role in enumerate(model.prototype.roles) if role == "B"]
    if len(pair) == 2:  # the same element on B and B' is another prototype
        distinct &= rows[:, pair[0]] != rows[:, pair[1]]
    rows = rows[distinct]
    known: Species = rows[model.in_domain(rows)]
    return known


CANDIDATES = "candidates.csv"


def explain_any(what: str, folder: Path, model: str | None, top: int | None) -> list[Path]:
    """Explain a model; or a run's best candidates, by its own model or another one.

    Returns:
        The files written.

    Raises:
        UserError: There is neither such a model nor such a run, the model does not pool linearly or does not fit the
            run, or a file cannot be written.
    """
    if not exists(what):
        path = _model_path(what)
        refuse_overwriting(model_files(path), [Output("output", folder, MAPS)])
        return explain(load(path), folder)
    with StoredRun.open(what) as run:
        plan = plan_of(what)
        written = Output("output", folder, (*MAPS, CANDIDATES))
        refuse_overwriting(model_files(model or plan.model.path), [written])
        chosen = load(model or plan.model.path)
        _check(chosen, run, plan, named=model is not None)
        best = rank_run(run, Outputs(), top or SHOWN)
    table = folder / CANDIDATES
    files = [*explain(chosen, folder), table]
    _write_candidates(table, best, chosen.on(run.header.space["prototype"]))
    return files


def _model_path(what: str) -> Path:
    try:
        return weights_path(what)
    except UserError:
        raise UserError(f"{what}: neither a run nor a model. `screen models` lists the shipped models.") from None


def _check(model: Model, run: StoredRun, plan: Plan, *, named: bool) -> None:
    if not named and model.digest != plan.model.digest:
        raise UserError(f"{plan.model.path}: no longer the model that made {run.target.url}. Name a `model`.")
    check_explains(model.card)
    if reason := plan.candidates.unfit(model.card):
        raise UserError(f"`model` {model.card.name}: {reason}.")


def _write_candidates(path: Path, table: Ranking, model: PrototypeModel) -> None:
    """Write ``rank,index,formula``, the element on each site, the prediction and each site's contribution to it."""
    target, sites = model.settings.targets[0], model.prototype.sites
    species = model.prototype.canonical(table.species)
    values = site_contributions(model, species)[target]  # (n, n_sites)
    means = predictions(model.prototype, values)  # (n,)
    names = [f"{site}_contribution" for site in sites]
    rows = [
        [row["rank"], row["index"], row["formula"], *(SYMBOLS[z] for z in on), *(f"{x:.5f}" for x in (whole, *found))]
        for row, on, whole, found in zip(table.rows(), species, means, values, strict=True)
    ]
    write_csv(path, ["rank", "index", "formula", *sites, target, *names], rows)
