"""Screening from Python: `screening.screen`, `screening.score`, `screening.open_run`.

Nothing is printed unless `progress=True` asks for it; what is wrong is a `cgcnn.errors.UserError`, one line that names
the setting in backquotes, its value and the remedy.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from screening.campaign import Event, check_run, run_campaign, url_of
from screening.engine.block import Block
from screening.engine.score import load_model, score_block
from screening.export import Export, export_run
from screening.plan import make_plan, plan_of
from screening.ranking.frames import RankedTable, to_pandas, to_xarray
from screening.ranking.outputs import Outputs, asked_of, rank_run, written_run
from screening.ranking.results import Ledger, make_ledger, present
from screening.ranking.table import rank
from screening.recipe import make_recipe
from screening.report.report import report
from screening.store import Report, StoredRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import pandas as pd
    import xarray as xr

    from screening.campaign import Campaign
    from screening.candidates.cascade import Measured
    from screening.plan import Plan
    from screening.recipe import Recipe
    from screening.relax.run import RelaxationProgress, SecondOpinion


@dataclass(frozen=True)
class Run:
    """A run, finished or not, to be read; nothing of it stays open.

    Attributes:
        url: A path or URL.
    """

    url: str

    @property
    def ledger(self) -> Ledger:
        """How every candidate ended, in counts that add up to the size of the space; `print` shows it well.

        Raises:
            UserError: The run is damaged.
        """
        with StoredRun.open(self.url) as run:
            return make_ledger(run.ledger(), run.header.filters, run.header.rows)

    @property
    def complete(self) -> bool:
        """Whether all candidates are there; if not, `screen` with `resume=True` goes on."""
        with StoredRun.open(self.url) as run:
            return run.n_committed == run.header.n_blocks

    @property
    def cascade(self) -> Measured | None:
        """What is known of the student that set candidates aside: its recall, and how far rankings are complete.

        None of a run without a cascade.

        Raises:
            UserError: The run is damaged.
        """
        cascade = plan_of(self.url).cascade
        return None if cascade is None else cascade.measured

    def rank(self, sort: str | None = None, top: int | None = None, **further: Any) -> RankedTable:
        """Rank the candidates, without predicting again.

        Args:
            sort: Columns to rank by, such as ``tau:desc,e_above_hull``; those of the run's recipe if None. Candidates
                that the model does not know come last in any case.
            top: How many to keep; None keeps all.
            further: `stable_at` (eV/atom, for `p_stable`), `group_by`, `per_group`, `filters`, `no_filter`,
                `prefer_known`, `known`, `drop_known`, `competing_phases`, `exclude_self`,
                `hull_check`; see
                `screening.ranking.outputs.Outputs`.

        Returns:
            A table of pandas whose `structures()` are those of pymatgen.

        Raises:
            UserError: There is no such column, no candidate to rank, or the run is damaged.
        """
        outputs = Outputs(sort=sort, top=top, **further)
        outputs.check()
        with StoredRun.open(self.url) as run:
            table = rank_run(run, outputs, top)
            _warn(outputs, table.notes)
            return to_pandas(table)

    def query(self, sql: str) -> pd.DataFrame:
        """Run a query of SQL over the ranked candidates.

        Such as ``SELECT B, avg(e_above_hull) FROM candidates GROUP BY B``. Columns are those of the ranked CSV; a value
        that is not there is NULL. The dialect is DuckDB's.

        Raises:
            UserError: The query is wrong, or the run is damaged or has no candidate to rank.
        """
        with StoredRun.open(self.url) as run:
            return rank_run(run, Outputs(), None).query(sql).to_pandas()

    def _repr_html_(self) -> str:
        """Show in a notebook where the run is and how its candidates ended."""
        ledger = self.ledger
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{count:,}</td></tr>" for name, count in ledger.counts.items())
        return f"<p><code>{escape(self.url)}</code>: {ledger.size:,} candidates</p><table>{rows}</table>"

    def to_xarray(self, *, filtered: bool = False) -> xr.Dataset:
        """Return the rows as a data set of xarray; see `screening.ranking.frames.to_xarray`."""
        with StoredRun.open(self.url) as run:
            return to_xarray(run, filtered=filtered)

    def report(
        self,
        path: str | Path,
        *,
        sort: str | None = None,
        top: int | None = None,
        relaxed: str | Path | None = None,
        **further: Any,
    ) -> Path:
        """Write one HTML page to explore the run with, which works without a network.

        Args:
            path: The file to write.
            sort: Columns to rank by; those of the run's recipe if None.
            top: How many candidates to list; 10,000 if None.
            relaxed: Directory of a `relax` whose results are told too; ``RUN-relaxed`` if None and that is there.
            further: As of `rank`.

        Raises:
            UserError: There is no such column, nothing to rank, the run is damaged, or the file cannot be written.
        """
        with StoredRun.open(self.url) as run:
            place = None if relaxed is None else Path(relaxed)
            notes = report(run, Path(path), Outputs(sort=sort, top=top, **further), place)
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return Path(path)

    def export(  # noqa: PLR0913  # all have defaults
        self,
        path: str | Path,
        *,
        format: str | None = None,  # noqa: A002  # its name everywhere
        top: int | None = None,
        sort: str | None = None,
        tilts: Sequence[str] = ("a0a0a0",),
        conventional: bool = False,
    ) -> Path:
        """Write the best candidates as structures from which calculations start, or the ranking as Parquet.

        Args:
            path: A directory for CIF or POSCAR, or a file: .extxyz, .db (ASE), .json (pymatgen), .jsonl (OPTIMADE),
                .parquet.
            format: One of `screening.export.FORMATS`, where the name does not say it.
            top: How many candidates; by default 20, of Parquet all.
            sort: Columns to rank by; those of the run's recipe if None.
            tilts: How octahedra are turned, see `cgcnn.graphs.tilts`; one structure each.
            conventional: The usual cell of the space group rather than the smallest.

        Raises:
            UserError: A setting is wrong, a library is missing, or the file cannot be written.
        """
        with StoredRun.open(self.url) as run:
            wanted = Export(Path(path), format, tuple(tilts), conventional=conventional)
            export_run(run, Outputs(sort, None, top), wanted)
        return Path(path)

    def relax(
        self,
        *,
        top: int | None = None,
        sort: str | None = None,
        progress: Callable[[RelaxationProgress], None] = lambda _: None,
        **settings: Any,
    ) -> SecondOpinion:
        """Relax the best candidates, cubic and tilted, with a calculator of ASE, and compare with the model.

        What was relaxed before is not relaxed again.

        Args:
            top: How many candidates; 20 if None.
            sort: Columns to rank by; those of the run's recipe if None.
            progress: Called with each relaxation that ended.
            settings: `out`, `calculator` ("chgnet" or "module:factory"), `tilts`, `fmax` (eV/Å), `steps`, `cluster`,
                `workers`, `competing_phases`, `exclude_self`; see
                `screening.relax.run.Relaxation`.

        Raises:
            UserError: A setting is wrong, the calculator or workers cannot be had, or results cannot be kept.
        """
        from screening.relax.run import Relaxation, relax_run

        with StoredRun.open(self.url) as run:
            made = relax_run(run, Relaxation(outputs=Outputs(sort, None, top), **settings), progress)
        for note in made.notes:
            warnings.warn(note, stacklevel=2)
        return made

    def verify(self) -> Report:
        """Prove that the run holds every candidate exactly once, undamaged: `ok`, `findings`, and `text()` of these.

        Raises:
            UserError: There is no run.
        """
        return check_run(self.url)


def open_run(url: str | Path) -> Run:
    """Return the run at a path or URL.

    Raises:
        UserError: There is none, or it is damaged.
    """
    with StoredRun.open(str(url)) as run:
        return Run(run.target.url)


def screen(
    kind: str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Callable[[Event], None] = False,
    **settings: Any,
) -> Run:
    """Screen candidates with worker processes, into a run.

    Worker processes import the main module: a script (not a notebook) that calls this at its top level needs
    ``if __name__ == "__main__":`` around the call.

    Args:
        kind: "perovskites", "double-perovskites", "list" or "structures".
        out: The run to write, a path or URL; by default the kind, with ".zarr".
        resume: Go on with the run that is there.
        progress: True shows a bar on stderr; a function is called with each event of `screening.campaign`.
        settings: Any other key of a recipe: `elements` or `a`, `b` and `x`, `anions`, `file`, `paths`, `model`,
            `filters`, `stable_at`, `sort`, `top`, `csv`, `cif`, `workers`, `cluster` …

    Returns:
        The run; unfinished if the batch system gave notice of the end, or others do their shares of it.

    Raises:
        UserError: A setting is wrong, or the run cannot be made or written. Nothing is half-written then.
    """
    recipe = make_recipe(kind=kind, out=None if out is None else str(out), **settings)
    outputs = asked_of(recipe)
    outputs.spare(recipe.inputs, written_run(url_of(recipe)))
    outputs.check(fresh=not resume)
    plan = make_plan(recipe)
    outputs.check_order(outputs.of(plan))
    campaign = _run(recipe, plan, resume=resume, progress=progress)
    if campaign.complete and (recipe.csv or recipe.cif):
        with StoredRun.open(campaign.url) as run:
            present(run, outputs)
    return Run(campaign.url)


def score(
    kind: str = "perovskites",
    *,
    sort: str = "e_above_hull",
    top: int | None = None,
    **settings: Any,
) -> RankedTable:
    """Score and rank a small space here and now: no run is kept, no worker started.

    Predictions are those of `screen`, bit for bit.

    Args:
        kind: As of `screen`.
        sort: Column to rank by.
        top: How many candidates to keep; None keeps all.
        settings: Those of a recipe that name candidates, model, filters, `stable_at`, `known` and the like.

    Returns:
        A table of pandas whose `structures()` are those of pymatgen.

    Raises:
        UserError: A setting is wrong, or no candidate can be ranked.
    """
    recipe = make_recipe(kind=kind, sort=sort, top=top, **settings)
    if recipe.cascade:
        raise UserError("`cascade`: its student is kept in a run, which `score` makes none of. Use `screen`.")
    outputs = asked_of(recipe)
    outputs.check()
    plan = outputs.of(make_plan(recipe))
    outputs.check_order(plan)
    scored = list(_scored(plan))
    _warn(outputs, outputs.notes_on_hull(plan, scored))
    blocks = [(start, outputs.changed(columns, plan)) for start, columns in scored]
    about = {} if outputs.phases is None else {"user_hull": str(outputs.phases.source)}
    order, groups = outputs.order(plan), outputs.groups(plan)
    table = rank(lambda: blocks, plan, sort=order, top=top, groups=groups, about=about)
    return to_pandas(outputs.check_hull(table))


def _warn(outputs: Outputs, notes: Sequence[str]) -> None:
    """Turn notes on competing phases, and on what the user has, into warnings."""
    for note in (*notes, *(outputs.had.notes if outputs.had else ())):
        warnings.warn(note, stacklevel=3)


def _run(recipe: Recipe, plan: Plan, *, resume: bool, progress: bool | Callable[[Event], None]) -> Campaign:
    if callable(progress):
        return run_campaign(recipe, plan=plan, resume=resume, progress=progress)
    if not progress:
        return run_campaign(recipe, plan=plan, resume=resume)
    from screening.cli.progress import Listener

    with Listener() as listener:
        return run_campaign(recipe, plan=plan, resume=resume, progress=listener)


def _scored(plan: Plan) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """First index and columns of each block of candidates, scored in this process as a worker would."""
    model, size, rows = load_model(plan), plan.candidates.count, plan.candidates.grain.block
    for number, start in enumerate(range(0, size, rows)):
        yield start, score_block(plan, model, Block(number, start, min(start + rows, size))).columns
