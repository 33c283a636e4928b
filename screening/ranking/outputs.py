"""Outputs of a run as the user requests them: check the request, apply it to the blocks of the run, rank."""

from __future__ import annotations

import math
import os
import re
from collections import ChainMap
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.overwriting import ALL, Output, of_csv, refuse_overwriting
from cgcnn.errors import UserError
from cgcnn.files import failures_path, is_stream
from cgcnn.graphs.prototype import PROTOTYPES
from screening.candidates.kind import read_columns
from screening.chemistry.competing import Phases, listed, read_phases
from screening.chemistry.descriptors import columns as describe
from screening.chemistry.filters import apply, parse_filter
from screening.chemistry.perovskite_probability import promise
from screening.engine.block import stable_probability
from screening.plan import from_header
from screening.ranking.crystals import refuse_other_cifs
from screening.ranking.known import Known, read_known
from screening.ranking.table import Groups, Picked, Ranking, check_sort, rank
from screening.ranking.user_hull import ABOVE, BOUND, CHECKED, HullCheck, UserHull, hull_check
from screening.recipe import SHOWN, SORT
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence

    from cgcnn.graphs.prototype import Prototype
    from screening.chemistry.competing import Paths
    from screening.chemistry.filters import Filter
    from screening.plan import ModelReference, Plan
    from screening.ranking.table import BlockRows
    from screening.recipe import Recipe
    from screening.store import StoredRun

    Watch = Callable[[Iterable[BlockRows]], Iterable[BlockRows]]


PROMISE = "promise"
"""A sort key beside the columns, see `screening.chemistry.perovskite_probability.promise`."""


@dataclass(frozen=True)
class Outputs:
    """How to rank a run, and which files to write.

    Attributes:
        sort: Columns to rank by, see `screening.ranking.table.check_sort`; None takes those of the run's recipe.
        stable_at: Threshold of `p_stable`, eV/atom; None keeps that of the run.
        top: Number of candidates to keep; None keeps all, and shows `SHOWN`.
        group_by: Site, such as B; only the best `per_group` candidates of each element there are kept.
        per_group: Number of candidates of each element.
        filters: Further filters, besides those of the run.
        no_filter: Also rank candidates that the run's filters rejected after their prediction; those rejected before it
            have none to rank by.
        prefer_known: Rank compositions by their energy above hull in `known`, else by that in the training, else by the
            prediction.
        known: File or folder of compounds that the user has, see `screening.ranking.known`; marked in `known_as`.
        drop_known: Leave these out.
        competing_phases: Files or folders of the user's own competing phases, see `screening.chemistry.entries`; adds
            the distance of candidates from their hull, which can be sorted by.
        exclude_self: Leave a candidate's own composition out of that hull.
        hull_check: How many of the first rows get `hull_bound`, how far above the hull the shipped ground states of the
            Materials Project put them at least, where the model predicts formation energies on their scale.
        csv: File for the ranking.
        cif: Directory for the CIF files of the candidates shown.
    """

    sort: str | None = None
    stable_at: float | None = None
    top: int | None = None
    group_by: str | None = None
    per_group: int = 1
    filters: tuple[str, ...] = ()
    no_filter: bool = False
    prefer_known: bool = False
    known: Path | None = None
    drop_known: bool = False
    competing_phases: Paths | None = None
    exclude_self: bool = False
    hull_check: int = CHECKED
    csv: Path | None = None
    cif: Path | None = None

    def spare(self, inputs: Iterable[str | Path | None], further: Sequence[Output] = ()) -> None:
        """Refuse outputs that would destroy an input; see `cgcnn.data.overwriting`.

        Args:
            inputs: Inputs besides known compounds and competing phases.
            further: Further outputs.

        Raises:
            UserError: An output would destroy an input; the message names both.
        """
        cif = [] if self.cif is None else [Output("cif", self.cif, ("*.cif",))]
        refuse_overwriting(
            [self.known, *listed(self.competing_phases), *inputs], [*of_csv("csv", self.csv), *cif, *further]
        )

    def check(self, *, fresh: bool = False) -> None:
        """Refuse, before the work begins, results that could not be written after it.

        Args:
            fresh: The run does not exist yet, so any CIF files in the directory belong to another ranking.

        Raises:
            UserError: A setting or a place is wrong; the message names it.
        """
        if self.drop_known and self.known is None:
            raise UserError("`drop_known`: there is nothing `known` to drop. Name a file or folder of your compounds.")
        if self.exclude_self and not self.competing_phases:
            raise UserError("`exclude_self`: there are no `competing_phases` to leave a compound out of. Name some.")
        if self.stable_at is not None and not math.isfinite(self.stable_at):
            raise UserError(f"`stable_at` {self.stable_at}: not an energy. Give eV/atom, such as 0.05.")
        _ = self.had, self.phases  # read now
        if self.csv is not None and not is_stream(self.csv):
            _check_folder("csv", self.csv, self.csv.absolute().parent)
            if self.csv.is_dir():
                raise UserError(f"`csv` {self.csv}: is a directory. Name a file.")
        if self.cif is not None:
            above = next(folder for folder in (self.cif.absolute(), *self.cif.absolute().parents) if folder.exists())
            _check_folder("cif", self.cif, above)
            if fresh:
                refuse_other_cifs(self.cif, set())

    @property
    def shown(self) -> int:
        """The number of candidates to show."""
        return self.top or SHOWN

    def of(self, plan: Plan) -> Plan:
        """Return the plan with the requested threshold, and with notes on known compounds and on the user's hull.

        Raises:
            UserError: Known compounds or competing phases cannot be read, the candidates are structures, or the model
                predicts no formation energy to compare with the hull.
        """
        if self.had is not None:
            _refuse_structures(plan)
            if self.prefer_known and self.had.other_energies and not self.had.energies:
                raise UserError(
                    f"`known` {self.known}: {self.had.other_energies} is not an energy above a hull, which "
                    "`prefer_known` ranks by. Give e_above_hull (eV/atom), or leave out `prefer_known` or that column."
                )
            if not self.drop_known:
                plan = replace(plan, candidates=plan.candidates.noted(self.had))
        if self.phases is not None:
            plan = replace(plan, candidates=plan.candidates.noted(self._hull(plan, self.phases)))
        return plan if self.stable_at is None else replace(plan, stable_at=self.stable_at)

    @staticmethod
    def _hull(plan: Plan, phases: Phases) -> UserHull:
        if not plan.candidates.site_groups:
            raise UserError("structures cannot be compared with `competing_phases`; leave them out")
        return _user_hull(phases, plan.model)

    def check_order(self, plan: Plan) -> None:
        """Refuse sort columns that do not exist; see `screening.ranking.table.check_sort`."""
        names = [column.name for column in plan.candidates.ranked]
        names += [PROMISE] if "p_perovskite" in names else []
        names += [ABOVE] if self.phases else []
        check_sort(self.ranked_by(plan), [*names, BOUND] if hull_check_of(plan) else names)

    def blocks(self, run: StoredRun, plan: Plan) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
        """Read each committed block of a run as requested: index of its first row, and its columns."""
        names = read_columns(plan.candidates)
        if self.prefer_known and "known_e_above_hull" not in names:
            raise UserError("structures have no known energies to prefer; leave out `prefer_known`")
        changed = self.stable_at is not None or self.prefer_known or self.filters or self.no_filter or self.drop_known
        changed = changed or self.phases is not None or any(name in self.ranked_by(plan) for name in (BOUND, PROMISE))
        for rows in run.blocks(names, plan.candidates.ranked):
            yield rows.start, self.changed(rows.columns, plan) if changed else rows.columns

    def changed(self, columns: Mapping[str, np.ndarray], plan: Plan) -> Mapping[str, np.ndarray]:
        """Change the columns of a block as requested; the others are read only when something asks for them."""
        new: MutableMapping[str, np.ndarray] = ChainMap({}, columns)  # type: ignore[arg-type]  # the last one is not written
        if self.stable_at is not None:
            new["p_stable"] = stable_probability(new["e_above_hull"], new["e_above_hull_std"], self.stable_at)
        if self.prefer_known:
            new["best_energy"] = _best_energy(new, self.had, plan)
        if PROMISE in self.ranked_by(plan):
            energy = new["best_energy"] if self.prefer_known else new["e_above_hull"]
            new[PROMISE] = promise(new["p_perovskite"], energy)
        if self.no_filter:
            left_out = (new["status"] >= Status.FILTERED) & np.isfinite(new["e_above_hull"])
            new["status"] = np.where(left_out, np.uint8(Status.OK), new["status"])
        if self.filters:
            new["status"] = refiltered(new, plan, [parse_filter(text) for text in self.filters])
        if self.drop_known and self.had is not None:
            had = self.had.are_known(new["species"], prototype_of(plan))
            had &= new["status"] == Status.OK
            new["status"] = np.where(had, np.uint8(Status.FILTERED), new["status"])
        if self.phases is not None and ABOVE in self.ranked_by(plan):
            new[ABOVE] = _above(self._hull(plan, self.phases), new, plan)
        if BOUND in self.ranked_by(plan) and (check := hull_check_of(plan)) is not None:
            new[BOUND] = _above(check, new, plan)
        return new

    def notes_on_hull(self, plan: Plan, blocks: Iterable[BlockRows]) -> tuple[str, ...]:
        """List warnings about the competing phases; see `screening.ranking.user_hull`.

        Args:
            plan: Plan of the run.
            blocks: (index of the first row, `status` and `species`) of each block.

        Raises:
            UserError: They cover no candidate.
        """
        if self.phases is None:
            return ()
        ranked = (columns["species"][columns["status"] == Status.OK] for _, columns in blocks)
        return tuple(self._hull(plan, self.phases).notes(ranked))

    @cached_property
    def phases(self) -> Phases | None:
        """The user's competing phases, read once."""
        if not self.competing_phases:
            return None
        return read_phases(self.competing_phases, exclude_self=self.exclude_self)

    @cached_property
    def had(self) -> Known | None:
        """The known compounds, read once."""
        return None if self.known is None else read_known(self.known)

    def ranked_by(self, plan: Plan) -> str:
        """Return the columns to rank by, as a user would name them."""
        if self.sort is not None:
            return self.sort
        return plan.sort if ABOVE not in plan.sort or self.phases else SORT  # runs do not store that column

    def order(self, plan: Plan) -> str:
        """Return the columns to rank by, with known energies in place of predicted ones if requested."""
        sort = self.ranked_by(plan)
        return re.sub(r"\be_above_hull\b", "best_energy", sort) if self.prefer_known else sort

    def check_hull(self, table: Ranking) -> Ranking:
        """Add how far above the hull competing phases put the first rows of a table, where that can be said."""
        check = hull_check_of(table.plan)
        if check is not None and self.hull_check:
            table.check(check, PROTOTYPES[table.plan.candidates.definition["prototype"]], self.hull_check)
        return table

    def groups(self, plan: Plan) -> Groups | None:
        """Return the groups to rank by.

        Raises:
            UserError: The candidates have no such site.
        """
        if self.group_by is None:
            return None
        sites = plan.candidates.site_groups
        if self.group_by not in sites:
            there = f"Choose one of {', '.join(sites)}." if sites else "Structures have no sites to group by."
            raise UserError(f"`group_by` {self.group_by}: no such site. {there}")
        return Groups(sites[self.group_by], self.per_group)


def hull_check_of(plan: Plan) -> HullCheck | None:
    """Return the check of a plan's candidates against shipped phases; None for structures or a model without one."""
    return hull_check(plan.model) if plan.candidates.site_groups else None


@lru_cache(maxsize=1)
def _user_hull(phases: Phases, model: ModelReference) -> UserHull:
    """Make one hull for all blocks of a ranking, so that its model is loaded once."""
    hull = UserHull(phases, model)
    hull.check()
    return hull


def asked_of(recipe: Recipe) -> Outputs:
    """Return the outputs that a recipe asks for."""
    names = {field.name for field in fields(Outputs)} - {"stable_at", "filters", "no_filter"}  # those of the run
    return Outputs(**{name: getattr(recipe, name) for name in names})


def written_run(url: str) -> list[Output]:
    """List the run at a URL as an output; a run on another machine is none."""
    path = url.removeprefix("file://")
    return [] if "://" in path else [Output("out", Path(path), (ALL,))]


def _above(hull: UserHull, columns: Mapping[str, np.ndarray], plan: Plan) -> np.ndarray:
    """Compute distances from the user's hull of the rows that can be ranked: (n,), eV/atom; NaN for others."""
    found = np.full(len(columns["status"]), np.nan, dtype=np.float32)
    kept = np.flatnonzero(columns["status"] == Status.OK)
    if len(kept):
        found[kept] = hull.above(columns["species"][kept], prototype_of(plan))
    return found


def prototype_of(plan: Plan) -> Prototype:
    """Return the prototype of a plan of compositions."""
    return PROTOTYPES[plan.candidates.definition["prototype"]]


def _refuse_structures(plan: Plan) -> None:
    if not plan.candidates.site_groups:
        raise UserError("structures cannot be compared with `known` compounds; leave them out")


def _best_energy(columns: Mapping[str, np.ndarray], had: Known | None, plan: Plan) -> np.ndarray:
    """Choose the user's energy of each composition, else that of the training, else the prediction: (n,), eV/atom.

    Of a bound in the training and the prediction, the less.
    """
    energy, known = columns["e_above_hull"], columns["known_e_above_hull"]
    lower = columns["known_is_bound"] & (energy < known)
    best = np.where(np.isnan(known) | lower, energy, known)
    if had is None or not had.energies:
        return best
    given = had.energies_of(columns["species"], prototype_of(plan))
    return np.where(np.isnan(given), best, given)


def refiltered(columns: Mapping[str, np.ndarray], plan: Plan, filters: Sequence[Filter]) -> np.ndarray:
    """Apply further filters to rows of a run: status (n,), in which rows that fail one are filtered.

    Raises:
        UserError: The candidates have no sites, which filters look at.
    """
    if not plan.candidates.site_groups:
        raise UserError("structures have no sites A, B and X, which `filters` look at; leave them out")
    status = columns["status"].copy()
    kept = np.flatnonzero(status == Status.OK)
    rows = Picked(columns, kept, 0)
    described = describe(rows["species"], prototype_of(plan), plan.states)
    failed = apply(filters, ChainMap(dict(described), rows)) != Status.OK  # type: ignore[arg-type]  # nothing is written
    status[kept[failed]] = Status.FILTERED
    return status


def _unwatched(blocks: Iterable[BlockRows]) -> Iterable[BlockRows]:
    return blocks


def rank_run(run: StoredRun, outputs: Outputs, top: int | None, watch: Watch = _unwatched) -> Ranking:
    """Rank the committed candidates of a run.

    Args:
        run: Finished or not.
        outputs: How to rank.
        top: Number of candidates to keep; None keeps all.
        watch: Sees each block once, on its way to the ranking.

    Raises:
        UserError: The run is damaged or has no candidate to rank, or there is no such column.
    """
    plan = outputs.of(from_header(run.header, run.records))
    outputs.check_order(plan)
    passes: Iterator[Watch] = chain([watch], repeat(_unwatched))
    about = {"run": run.target.url, "committed": run.n_committed, "blocks": run.header.n_blocks}
    about |= {} if outputs.phases is None else {"user_hull": str(outputs.phases.source)}
    spill = outputs.csv.absolute().parent if outputs.csv and failures_path(outputs.csv) else None
    notes = outputs.notes_on_hull(plan, _species_of(run, plan))
    table = rank(
        lambda: next(passes)(outputs.blocks(run, plan)),
        plan,
        sort=outputs.order(plan),
        top=top,
        groups=outputs.groups(plan),
        spill=spill,
        about=about,
    )
    table.notes = notes
    return outputs.check_hull(table)


def _species_of(run: StoredRun, plan: Plan) -> Iterator[BlockRows]:
    """Read index of the first row, status and species of each committed block of a run of compositions."""
    for rows in run.blocks(("status", "species"), plan.candidates.ranked):
        yield rows.start, rows.columns


def _check_folder(setting: str, path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"`{setting}` {path}: there is no directory {folder}. Make it, or name another place.")
    if not os.access(folder, os.W_OK):
        raise UserError(f"`{setting}` {path}: {folder} is not writable. Name another place.")
