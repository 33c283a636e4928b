"""What a user asks to have made of a run, and the making of it: a ranking, its files, and the file of what failed."""

from __future__ import annotations

import math
import os
import re
from collections import ChainMap
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.overwriting import ALL, Output, of_csv, refuse_overwriting
from cgcnn.errors import UserError
from cgcnn.files import failures_path, is_stream, write_csv, write_whole
from cgcnn.graphs.prototype import PROTOTYPES
from screening.candidates.kind import read_columns
from screening.chemistry.competing import Phases, listed, read_phases
from screening.chemistry.filters import apply, parse_filter
from screening.chemistry.perovskite_probability import promise
from screening.engine.block import stable_probability
from screening.plan import from_header
from screening.ranking.known import Known, read_known
from screening.ranking.table import Groups, Picked, Table, check_sort, free, rank
from screening.ranking.user_hull import ABOVE, BOUND, CHECKED, HullCheck, UserHull, hull_check
from screening.recipe import SHOWN, SORT
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence

    from screening.chemistry.competing import Paths
    from screening.chemistry.filters import Filter
    from screening.plan import ModelReference, Plan
    from screening.ranking.table import Table
    from screening.recipe import Recipe
    from screening.store import Run

    Block = tuple[int, Mapping[str, np.ndarray]]
    Watch = Callable[[Iterable[Block]], Iterable[Block]]


PROMISE = "promise"
"""What may be ranked by beside columns, see `screening.chemistry.perovskite_probability.promise`."""
CIF_NAME = re.compile(r"[0-9]{4,}-.*-[0-9]+(-[abc0+-]{6})?\.(cif|vasp)")
"""Names of the CIF and POSCAR files of a ranking: rank, formula, index, and tilts if there are any."""


def write_cifs(table: Table, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank, formula and index.

    They have the predicted lattice constant; structures are written as they were given.

    Raises:
        UserError: The directory or a file in it cannot be written, or there are CIF files of another ranking in it.
    """
    rows = table.rows(count)
    names = [f"{row['rank']:04d}-{row['formula']}-{row['index']}.cif" for row in rows]
    try:
        refuse_other_cifs(directory, set(names))
        directory.mkdir(parents=True, exist_ok=True)
        for name, row in zip(names, rows, strict=True):
            write_whole(directory / name, table.plan.candidates.cif(row["index"], row.get("a_angstrom", float("nan"))))
    except OSError as error:
        raise UserError(f"`cif` {directory}: cannot be written: {error.strerror}.") from None


def refuse_other_cifs(directory: Path, names: set[str], setting: str = "cif") -> None:
    """Refuse a directory with the files of another ranking, which nobody could tell from those with these names.

    Raises:
        UserError: Naming one of them.
    """
    there = (path.name for path in directory.iterdir()) if directory.is_dir() else iter(())
    if others := sorted(name for name in there if CIF_NAME.fullmatch(name) and name not in names):
        kind = others[0].rpartition(".")[2].upper().replace("VASP", "POSCAR")
        raise UserError(
            f"`{setting}` {directory}: holds {len(others)} {kind} files of another ranking, such as {others[0]}. "
            "Name another directory, or empty this one."
        )


@dataclass(frozen=True)
class Outputs:
    """What to make of a run.

    Attributes:
        sort: Columns to rank by, see `screening.ranking.table.check_sort`; None for those of the run's recipe.
        stable_at: Threshold of `p_stable`, eV/atom; None keeps what the run has.
        top: How many candidates to keep; None keeps all, and shows `SHOWN`.
        group_by: Site, such as B, of whose elements only the best `per_group` candidates are kept.
        per_group: How many of each.
        filters: Further filters, beside those of the run.
        no_filter: Also rank what filters of the run left out after they saw its prediction; what was left out before
            has none.
        prefer_known: Rank compositions by the energy above hull that `known` has of them, else by that of the training,
            which no prediction beats.
        known: File or folder of what the user has, see `screening.ranking.known`; marked in `known_as`.
        drop_known: Leave that out.
        competing_phases: Files or folders of the user's own competing phases, see `screening.chemistry.entries`; how
            far candidates are above the hull of these is told, and may be ranked by.
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
        """Refuse outputs that would destroy what is read, see `cgcnn.data.overwriting`.

        Args:
            inputs: What is read, besides what is known and competes.
            further: What else is written.

        Raises:
            UserError: Naming the output and the input.
        """
        cif = [] if self.cif is None else [Output("cif", self.cif, ("*.cif",))]
        refuse_overwriting(
            [self.known, *listed(self.competing_phases), *inputs], [*of_csv("csv", self.csv), *cif, *further]
        )

    def check(self, *, fresh: bool = False) -> None:
        """Find out before the work, not after it, that its results could not be written.

        Args:
            fresh: The run is yet to be made, so that CIF files that are there are those of another ranking.

        Raises:
            UserError: Naming the setting, the place and what is wrong with it.
        """
        if self.drop_known and self.known is None:
            raise UserError("`drop_known`: nothing is `known` to drop. Name a file or folder of what you have.")
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
        """How many candidates to show."""
        return self.top or SHOWN

    def of(self, plan: Plan) -> Plan:
        """The plan with the threshold asked for, and notes on what the user has and on the user's hull.

        Raises:
            UserError: What is known or competes cannot be read, the candidates are structures, or the model predicts no
                formation energy to compare with the hull.
        """
        if self.had is not None:
            _refuse_structures(plan)
            if self.prefer_known and self.had.other_energies and not self.had.energies:
                raise UserError(
                    f"`known` {self.known}: {self.had.other_energies} is no energy above a hull, which `prefer_known` "
                    "ranks by. Give e_above_hull (eV/atom), or leave prefer_known or that column out."
                )
            if not self.drop_known:
                plan = replace(plan, candidates=plan.candidates.noted(self.had))
        if self.phases is not None:
            plan = replace(plan, candidates=plan.candidates.noted(self._hull(plan, self.phases)))
        return plan if self.stable_at is None else replace(plan, stable_at=self.stable_at)

    @staticmethod
    def _hull(plan: Plan, phases: Phases) -> UserHull:
        if not plan.candidates.site_groups:
            raise UserError("structures are not compared with `competing_phases`; leave them out")
        return _user_hull(phases, plan.model)

    def check_order(self, plan: Plan) -> None:
        """Refuse columns to rank by that there are not; see `screening.ranking.table.check_sort`."""
        names = [column.name for column in plan.candidates.ranked]
        names += [PROMISE] if "p_perovskite" in names else []
        names += [ABOVE] if self.phases else []
        check_sort(self.ranked_by(plan), [*names, BOUND] if hull_check_of(plan) else names)

    def blocks(self, run: Run, plan: Plan) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
        """First row and columns of each committed block of a run, with `p_stable` for the threshold asked for."""
        names = read_columns(plan.candidates)
        if self.prefer_known and "known_e_above_hull" not in names:
            raise UserError("structures are no compositions of a training; leave out `prefer_known`")
        changed = self.stable_at is not None or self.prefer_known or self.filters or self.no_filter or self.drop_known
        changed = changed or self.phases is not None or any(name in self.ranked_by(plan) for name in (BOUND, PROMISE))
        for rows in run.blocks(names, plan.candidates.ranked):
            yield rows.start, self.changed(rows.columns, plan) if changed else rows.columns

    def changed(self, columns: Mapping[str, np.ndarray], plan: Plan) -> Mapping[str, np.ndarray]:
        """The columns of a block as they are asked for; those that stay are read when they are asked for."""
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
            had = self.had.are_known(new["species"], PROTOTYPES[plan.candidates.definition["prototype"]])
            had &= new["status"] == Status.OK
            new["status"] = np.where(had, np.uint8(Status.FILTERED), new["status"])
        if self.phases is not None and ABOVE in self.ranked_by(plan):
            new[ABOVE] = _above(self._hull(plan, self.phases), new, plan)
        if BOUND in self.ranked_by(plan) and (check := hull_check_of(plan)) is not None:
            new[BOUND] = _above(check, new, plan)
        return new

    def notes_on_hull(self, plan: Plan, blocks: Iterable[Block]) -> tuple[str, ...]:
        """What is worth a warning about the competing phases; see `screening.ranking.user_hull`.

        Args:
            plan: Of the run.
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
        """What the user has, read once."""
        return None if self.known is None else read_known(self.known)

    def ranked_by(self, plan: Plan) -> str:
        """The columns to rank by, as a user would name them."""
        if self.sort is not None:
            return self.sort
        return plan.sort if ABOVE not in plan.sort or self.phases else SORT  # that column is not kept

    def order(self, plan: Plan) -> str:
        """The columns to rank by, known energies in place of predicted ones if that is asked for."""
        sort = self.ranked_by(plan)
        return re.sub(r"\be_above_hull\b", "best_energy", sort) if self.prefer_known else sort

    def check_hull(self, table: Table) -> Table:
        """Add how far above the hull competing phases put the first rows of a table, where that can be said."""
        check = hull_check_of(table.plan)
        if check is not None and self.hull_check:
            table.check(check, PROTOTYPES[table.plan.candidates.definition["prototype"]], self.hull_check)
        return table

    def groups(self, plan: Plan) -> Groups | None:
        """The groups to rank by.

        Raises:
            UserError: The candidates have no such site.
        """
        if self.group_by is None:
            return None
        sites = plan.candidates.site_groups
        if self.group_by not in sites:
            there = f"Choose of {', '.join(sites)}." if sites else "Structures have no sites to group by."
            raise UserError(f"`group_by` {self.group_by}: no such site. {there}")
        return Groups(sites[self.group_by], self.per_group)


def hull_check_of(plan: Plan) -> HullCheck | None:
    """The check of a plan's candidates against shipped phases; None of structures, and where the model has none."""
    return hull_check(plan.model) if plan.candidates.site_groups else None


@lru_cache(maxsize=1)
def _user_hull(phases: Phases, model: ModelReference) -> UserHull:
    """One for all blocks of a ranking, so that its model is loaded once."""
    hull = UserHull(phases, model)
    hull.check()
    return hull


def asked_of(recipe: Recipe) -> Outputs:
    """What a recipe asks to have made of its run."""
    of_ranking = (
        "sort",
        "top",
        "group_by",
        "per_group",
        "prefer_known",
        "known",
        "drop_known",
        "competing_phases",
        "exclude_self",
        "hull_check",
    )
    names = (*of_ranking, "csv", "cif")
    return Outputs(**{name: getattr(recipe, name) for name in names})


def written_run(url: str) -> list[Output]:
    """The run at a URL as an output: none elsewhere than on this machine."""
    path = url.removeprefix("file://")
    return [] if "://" in path else [Output("out", Path(path), (ALL,))]


def _above(hull: UserHull, columns: Mapping[str, np.ndarray], plan: Plan) -> np.ndarray:
    """(n,) distance from the user's hull of the rows that can be ranked, eV/atom; NaN of others."""
    found = np.full(len(columns["status"]), np.nan, dtype=np.float32)
    kept = np.flatnonzero(columns["status"] == Status.OK)
    if len(kept):
        found[kept] = hull.above(columns["species"][kept], PROTOTYPES[plan.candidates.definition["prototype"]])
    return found


def _refuse_structures(plan: Plan) -> None:
    if not plan.candidates.site_groups:
        raise UserError("structures are not compared with what is `known`; leave it out")


def _best_energy(columns: Mapping[str, np.ndarray], had: Known | None, plan: Plan) -> np.ndarray:
    """(n,) eV/atom that the user has of a composition, else that of the training, else predicted.

    Of a bound in the training and the prediction, the less.
    """
    energy, known = columns["e_above_hull"], columns["known_e_above_hull"]
    lower = columns["known_is_bound"] & (energy < known)
    best = np.where(np.isnan(known) | lower, energy, known)
    if had is None or not had.energies:
        return best
    given = had.energies_of(columns["species"], PROTOTYPES[plan.candidates.definition["prototype"]])
    return np.where(np.isnan(given), best, given)


def refiltered(columns: Mapping[str, np.ndarray], plan: Plan, filters: Sequence[Filter]) -> np.ndarray:
    """The status (n,) of rows of a run after further filters; those that fail one count as filtered.

    Raises:
        UserError: The candidates have no sites, which filters look at.
    """
    if not plan.candidates.site_groups:
        raise UserError("structures have no sites A, B and X, which `filters` look at; leave the filters out")
    status = columns["status"].copy()
    kept = np.flatnonzero(status == Status.OK)
    rows = Picked(columns, kept, 0)
    described = plan.candidates.described(rows, plan.states)
    failed = apply(filters, ChainMap(dict(described), rows)) != Status.OK  # type: ignore[arg-type]  # nothing is written
    status[kept[failed]] = Status.FILTERED
    return status


@dataclass(frozen=True)
class Failures:
    """Candidates of a run that failed.

    Attributes:
        count: How many.
        first: Name of the first.
        reason: Why that one did.
        file: The CSV file of all reasons, if one was written.
    """

    count: int
    first: str
    reason: str
    file: Path | None


@dataclass(frozen=True)
class Presented:
    """What was made of a run.

    Attributes:
        table: The candidates asked for.
        failures: None without any.
    """

    table: Table
    failures: Failures | None


def _unwatched(blocks: Iterable[Block]) -> Iterable[Block]:
    return blocks


def rank_run(run: Run, outputs: Outputs, top: int | None, watch: Watch = _unwatched) -> Table:
    """Rank the committed candidates of a run.

    Args:
        run: Finished or not.
        outputs: How to rank.
        top: How many to keep; None keeps all.
        watch: Is given the blocks on their way, once.

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


def _species_of(run: Run, plan: Plan) -> Iterator[Block]:
    """First row, status and species of each committed block of a run of compositions."""
    for rows in run.blocks(("status", "species"), plan.candidates.ranked):
        yield rows.start, rows.columns


def present(run: Run, outputs: Outputs) -> Presented:
    """Rank the committed candidates of a run, and write the files asked for; each appears whole or not at all.

    Beside a ranked CSV lies one of the reasons of failures; without failures, one that was left there is removed.

    Raises:
        UserError: The run is damaged or has no candidate to rank, there is no such column, or a file cannot be written.
    """
    table = rank_run(run, outputs, outputs.top if outputs.csv else outputs.shown)
    failures = _failures(run, table.plan, outputs.csv)
    if outputs.csv:
        table.write_csv(outputs.csv)
    if outputs.cif:
        write_cifs(table, outputs.cif, outputs.shown)
    return Presented(table, failures)


def _failures(run: Run, plan: Plan, csv: Path | None) -> Failures | None:
    count = run.ledger().get(int(Status.FAILED), 0)
    path = csv and failures_path(csv)
    if not count:
        if path:
            path.unlink(missing_ok=True)
        return None
    first, _, reason = min(run.failures())
    candidates = plan.candidates
    names = dict(zip(candidates.text_columns, candidates.texts([first]).get(first, []), strict=False))
    if path:
        own = {"index", "reason"}
        write_csv(path, ["index", *(free(name, own) for name in candidates.text_columns), "reason"], _rows(run, plan))
    return Failures(count, names.get("id") or f"candidate {first}", reason, path)


def _rows(run: Run, plan: Plan) -> Iterator[list[str]]:
    for first, stop, reason in sorted(run.failures()):
        texts = plan.candidates.texts(range(first, stop)) if plan.candidates.text_columns else {}
        yield from ([str(index), *texts.get(index, []), reason] for index in range(first, stop))


def _check_folder(setting: str, path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"`{setting}` {path}: there is no directory {folder}. Make it, or name another place.")
    if not os.access(folder, os.W_OK):
        raise UserError(f"`{setting}` {path}: {folder} is not writable. Name another place.")
