"""A ranking as a pandas table, a run as an xarray data set; both carry their units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from cgcnn.errors import UserError
from screening.candidates.kind import UNTILTED
from screening.plan import from_header
from screening.ranking.crystals import complete, describe
from screening.ranking.table import labels_of
from screening.status import Status, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from pymatgen.core.structure import Structure

    from screening.candidates.kind import Candidates
    from screening.plan import Plan
    from screening.ranking.table import Ranking
    from screening.store import Column, StoredRun


class RankedTable(pd.DataFrame):  # type: ignore[misc]  # pandas comes without types
    """A ranking as a `pandas.DataFrame`: a row for each candidate, the best first; the row labels are the ranks.

    Columns are those of the ranked CSV: `index` (the candidate's number in the run), `formula`, the sites or the id,
    predictions and chemistry, and the texts that came with the candidate. `attrs` holds `units` (column -> unit),
    `model`, `stable_at` (eV/atom, the threshold of `p_stable`), `ranked` (the number of candidates that could be
    ranked), `out_of_domain` and `new_anions` (the numbers of those that the model does not know, see
    `screening.ranking.table`), and how many of the run's `blocks` are `committed`.
    """

    _metadata: ClassVar[list[str]] = ["candidates"]

    @property
    def _constructor(self) -> Callable[..., RankedTable]:
        return RankedTable

    def __repr__(self) -> str:
        """Show all columns, on as many lines as they take; pandas would leave out the middle, where the results are."""
        with pd.option_context("display.max_columns", None):
            return str(super().__repr__())

    def structures(self, tilts: str = UNTILTED, *, conventional: bool = False) -> list[Structure]:
        """Build the candidates as pymatgen crystals, in the order of the rows.

        Compositions sit on the positions of their prototype, with the predicted lattice constant; structures are as
        they were given. Site properties are `site` and, if an atom has one, `magmom`, an initial moment. The
        `properties` of each crystal are where it comes from and what is predicted for it.

        Args:
            tilts: Tilt system, see `cgcnn.graphs.tilts`; a relaxation cannot tilt an untilted start.
            conventional: Build the conventional cell of the space group rather than the smallest cell.

        Raises:
            UserError: The column `index` is missing, or for compositions `a_angstrom`; the tilt system is unknown.
        """
        candidates: Candidates | None = getattr(self, "candidates", None)
        if candidates is None or "index" not in self:
            raise UserError("this table does not say which candidates its rows are. Keep the column `index`.")
        lengths = self["a_angstrom"] if "a_angstrom" in self else np.full(len(self), np.nan)
        about = {name: self.attrs[name] for name in ("run", "model", "stable_at") if name in self.attrs}
        turned = {"tilts": tilts} if candidates.site_groups else {}  # structures keep their own
        found = []
        for (place, row), a in zip(self.iterrows(), lengths, strict=True):
            structure = candidates.structure(int(row["index"]), float(a), tilts, conventional=conventional)
            found.append(complete(structure, {**about, "rank": place, **describe(row), **turned}))
        return found


def to_pandas(table: Ranking) -> RankedTable:
    """Read a ranking into a pandas table."""
    columns = table.arrays()
    ranks = columns.pop("rank")
    frame = RankedTable(columns, index=pd.Index(ranks, name="rank"))
    frame.candidates = table.plan.candidates
    units = {field.name: field.unit for field in table.fields if field.unit}
    about = {"units": units, "model": table.plan.model.name, "stable_at": table.plan.stable_at}
    frame.attrs = {**about, **vars(table.counts), **table.about}
    return frame


def to_xarray(run: StoredRun, *, filtered: bool = False) -> xr.Dataset:
    """Read the committed rows of a run into memory as an xarray data set.

    Args:
        run: Finished or not.
        filtered: Include candidates without a prediction, which a filter rejected or which failed.

    Returns:
        A variable along `candidate` for each column of the run, with its unit and meaning. Coordinates are the number
        of each candidate, its formula, the symbol on each of its sites or its id, and its oxidation states.

    Raises:
        UserError: xarray is missing, or the run is damaged.
    """
    try:
        import xarray as xr
    except ImportError:
        raise UserError("xarray is missing; pip install 'perovskite-screening[xarray]'") from None
    plan = from_header(run.header, run.records)
    rows = _kept(run, filtered=filtered)
    names = _names(plan, rows)
    coordinates: dict[str, Any] = {"candidate": ("candidate", rows["index"], {"long_name": "number in the run"})}
    coordinates |= {name: ("candidate", values) for name, values in names.items()}
    sites = plan.candidates.columns(plan.stable_at)[0]
    if sites.name == "species":
        on = sites.description.rpartition(" ")[2].split(",")
        coordinates["site"] = ("site", np.array(on, dtype=object))
    variables = {
        column.name: (("candidate", *column.axes), rows[column.name], _attributes(column, run))
        for column in run.header.columns
    }
    about = {"model": plan.model.name, "stable_at": plan.stable_at, "filters": ", ".join(run.header.filters)}
    return xr.Dataset(variables, coordinates, about | {"blocks": f"{run.n_committed} of {run.header.n_blocks}"})


def _kept(run: StoredRun, *, filtered: bool) -> dict[str, np.ndarray]:
    """Read the columns of a run and `index`, of all committed rows or of those with a prediction."""
    names = [column.name for column in run.header.columns]
    parts: list[dict[str, np.ndarray]] = []
    for rows in run.blocks(names):
        kept = slice(None) if filtered else rows.columns["status"] == Status.OK
        part = {"index": np.arange(rows.start, rows.stop)} | dict(rows.columns)
        parts.append({name: values[kept] for name, values in part.items()})
    if not parts:
        raise UserError(f"{run.target.url}: no block is done yet. Wait for the first one, or run the screen.")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _names(plan: Plan, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write formula, sites or id, and states of each row; empty for a row that is no candidate."""
    candidates = plan.candidates
    names = ("formula", *candidates.name_columns, *(field.name for field in candidates.remark_columns))
    shown = np.flatnonzero(rows[candidates.shown_by[0]].any(axis=1))
    labels = labels_of(candidates, {name: values[shown] for name, values in rows.items()})
    found = {name: np.full(len(rows["index"]), "", dtype=object) for name in names}
    for name, values in found.items():
        values[shown] = [text or "" for text in labels[name].to_pylist()]
    return found


def _attributes(column: Column, run: StoredRun) -> dict[str, Any]:
    about: dict[str, Any] = {"long_name": column.description} | ({"units": column.unit} if column.unit else {})
    if column.name != "status":
        return about
    meanings = labels(run.header.filters, cascade=bool(run.header.recipe["cascade"]))
    return about | {"flag_values": list(meanings), "flag_meanings": _flags(list(meanings.values()))}


def _flags(meanings: Sequence[str]) -> str:
    """Write the meanings of flags as the CF conventions have them: words joined by underscores, separated by blanks."""
    return " ".join(meaning.replace(" ", "_") for meaning in meanings)
