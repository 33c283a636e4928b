"""Making a cascade: candidates are drawn at random, the ensemble judges them, a student is fitted to it and measured.

The student learns the ranked column on a scale on which the best candidates are apart and the hopeless ones close
together: asinh((key - origin) / unit) with the key that is least for the best. It passes on what it puts within
`MARGIN` root mean square errors of the cut, errors being those of the candidates near it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.network.template_kernel import missing
from screening.candidates.cascade import Cascade, Measured
from screening.chemistry.perovskite_probability import promise
from screening.engine.block import Block
from screening.engine.compositions import BuiltCompositions, infer, load, sift_species
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cgcnn.models.model import PrototypeModel
    from screening.candidates.space import Space
    from screening.plan import Plan

SEED = 0
SHARE = 0.01
"""Share of the candidates that count as the best, unless more rows are asked for."""
MARGIN = 6.0
NEAR = 5
"""Times the best share: so many candidates are near the cut."""
MOST_PASSED = 0.5
"""Share of candidates passed on above which a cascade is slower than the ensemble, or hardly faster."""

Rows = dict[str, np.ndarray]


@dataclass(frozen=True)
class Effort:
    """How many candidates that pass the filters are taken for what.

    Attributes:
        fitted: The student is fitted to.
        tuned: The limit is set by; at least a few hundred of them are near the cut.
        measured: The recall is measured on.
        least: Candidates that pass the filters, below which the ensemble is done sooner than a student is fitted.
    """

    fitted: int = 300_000
    tuned: int = 50_000
    measured: int = 100_000
    least: int = 4_000_000

    @property
    def drawn(self) -> int:
        """All of them."""
        return self.fitted + self.tuned + self.measured


EFFORT = Effort()


def _energy(rows: Rows, stable_at: float) -> np.ndarray:  # noqa: ARG001  # as others
    return rows["e_above_hull"]


def _stability(rows: Rows, stable_at: float) -> np.ndarray:
    """Compute deviations above the threshold: least where `p_stable` is largest, also where that rounds to 1 or 0."""
    return (rows["e_above_hull"] - np.float32(stable_at)) / np.maximum(rows["e_above_hull_std"], np.float32(1e-6))


def _log_odds(rows: Rows, stable_at: float) -> np.ndarray:  # noqa: ARG001  # as others
    p = np.clip(rows["p_perovskite"].astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log1p(-p) - np.log(p), dtype=np.float32)


def _promise(rows: Rows, stable_at: float) -> np.ndarray:  # noqa: ARG001  # as others
    return -promise(rows["p_perovskite"], rows["e_above_hull"])


KEYS: dict[str, Callable[[Rows, float], np.ndarray]] = {
    "e_above_hull": _energy,
    "p_stable": _stability,
    "p_perovskite": _log_odds,
    "promise": _promise,
}
"""Columns that a cascade can be after -> the key, least for the best, that its student learns."""


class NotWorthwhileError(Exception):
    """Why the ensemble alone is the better way, for users."""


def ranked_by(sort: str) -> str:
    """Return the column that a cascade is after, from the columns that a recipe ranks by.

    Raises:
        UserError: No student can learn the first of them.
    """
    column, _, direction = sort.split(",", maxsplit=1)[0].strip().partition(":")
    usual = "asc" if column == "e_above_hull" else "desc"
    if column not in KEYS or direction not in {"", usual}:
        raise UserError(f"`sort` {sort}: a cascade is after the best by {', '.join(KEYS)}. Rank by one of them first.")
    return column


def make_cascade(plan: Plan[Space], sort: str, top: int) -> Cascade:
    """Fit a student to the model of a plan over the candidates of the plan, and measure it.

    Args:
        plan: Without a cascade.
        sort: Columns that are ranked by.
        top: Rows that a ranking is to have.

    Raises:
        NotWorthwhileError: Screening without it is quicker.
        UserError: No student can learn the column, or the model does not predict it.
    """
    by = ranked_by(sort)
    if missing():
        raise NotWorthwhileError("without the compiled kernel a student is not faster")
    model = load(plan)
    rows, species, lattice, passing = _draw(plan, model)
    key = KEYS[by](rows, plan.stable_at)
    if not np.isfinite(key).any():
        raise UserError(f"`sort` {by}: model {plan.model.name} does not predict it, so that no student can learn it.")
    known = np.isfinite(key)
    rows, key = {name: values[known] for name, values in rows.items()}, key[known]
    return _fitted(by, plan, (rows, species[known], lattice[known]), (key, max(SHARE, 2 * top / passing)))


def _draw(plan: Plan[Space], model: PrototypeModel) -> tuple[Rows, np.ndarray, np.ndarray, float]:
    """Random candidates that pass the filters: rows, species and lattice constants; and how many there are, about."""
    space, generator = plan.candidates, np.random.default_rng(SEED)
    step, parts, found, looked_at = space.grain.sifted, list[Rows](), 0, 0
    while found < EFFORT.drawn:
        rows = sift_species(plan, model, space.pick(generator.integers(0, space.count, step)))
        parts.append({name: values[rows["status"] == Status.OK] for name, values in rows.items()})
        found, looked_at = found + len(parts[-1]["status"]), looked_at + step
        if (passing := found / looked_at * space.count) < EFFORT.least:
            raise NotWorthwhileError(f"of about {passing:,.0f} candidates that pass the filters")
    rows = {name: np.concatenate([part[name] for part in parts])[: EFFORT.drawn] for name in parts[0]}
    species, lattice = model.cells(rows["species"])
    built = BuiltCompositions(Block(0, 0, EFFORT.drawn), rows, species, lattice, {})
    return infer(plan, model, built).columns, species, lattice, passing


def _fitted(
    by: str,
    plan: Plan[Space],
    drawn: tuple[Rows, NDArray[np.uint8], NDArray[np.float32]],
    asked: tuple[NDArray[np.float32], float],
) -> Cascade:
    """Fit a cascade that keeps a share of the candidates, from those drawn with their keys."""
    from cgcnn.training.distil import fit_student

    (rows, species, lattice), (key, share) = drawn, asked
    prototype, values = plan.candidates.ideal, _spread_out(key)
    tuning, measuring = (min(part, len(key) // 3) for part in (EFFORT.tuned, EFFORT.measured))
    fitting = len(key) - tuning - measuring
    student = fit_student(prototype, species[:fitting], lattice[:fitting], values[:fitting], SEED)
    best, in_domain = _best(rows, key, share), rows["in_domain"]
    whole_domain = not in_domain[best].all()
    last = best[np.argmax(np.where(in_domain[best] & whole_domain, -np.inf, values[best]))]
    tuned, measured = slice(fitting, fitting + tuning), slice(fitting + tuning, None)
    said = student.predict(prototype, species[tuned], lattice[tuned])
    near = values[tuned] <= np.quantile(values[tuned], min(NEAR * share, 1.0))
    error = np.sqrt(np.mean(np.square(said - values[tuned])[near], dtype=np.float64))
    limit = float(values[last] + MARGIN * error)
    unmeasured = Measured(by, share, float(rows[by][last]), 0, 0, 0, 0, limit, bool(whole_domain))
    cascade = Cascade(unmeasured, student)
    passed = cascade.passes(prototype, species[measured], lattice[measured], in_domain[measured])
    if passed.mean() > MOST_PASSED:
        raise NotWorthwhileError(f"of which a student would pass on {passed.mean():.0%}")
    among = _best({name: column[measured] for name, column in rows.items()}, key[measured], share)
    kept, whole = int(passed[among].sum()), int(passed.sum())
    found = replace(unmeasured, sampled=len(passed), best=len(among), kept=kept, passed=whole)
    return Cascade(found, student)


def _best(rows: Rows, key: NDArray[np.float32], share: float) -> NDArray[np.intp]:
    """Find the best share of the rows that a ranking has: those in the model's domain first, as there."""
    ranked = np.flatnonzero(rows["status"] == Status.OK)
    order = np.lexsort((key[ranked], ~rows["in_domain"][ranked]))
    if not len(order):
        raise NotWorthwhileError("of which filters of predictions leave none")
    return ranked[order[: max(round(share * len(order)), 1)]]


def _spread_out(key: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put keys (n,) on the student's scale."""
    origin, middle = np.quantile(key, [SHARE, 0.5]).astype(np.float32)
    spread: NDArray[np.float32] = np.arcsinh((key - origin) / max((middle - origin) / 2, np.float32(1e-6)))
    return spread
