"""A ranking as a table of pandas, a run as a data set of xarray; both say their units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from cgcnn.errors import UserError
from screening.candidates.kind import UNTILTED
from screening.plan import from_header
from screening.results.starts import complete, describe
from screening.results.tables import free, ranked_rows
from screening.results.user_hull import ABOVE, TARGET
from screening.status import Status, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from pymatgen.core.structure import Structure

    from screening.candidates.kind import Candidates
    from screening.plan import Plan
    from screening.results.ranking import Ranking
    from screening.store import Column, Run


class RankedTable(pd.DataFrame):  # type: ignore[misc]  # pandas comes without types
    """A ranking: a `pandas.DataFrame` with a row for each candidate, the best first; the row labels are the ranks.

    Columns are those of the ranked CSV: `index` (the candidate's number in the run), `formula`, the sites or the id,
    what is known of each candidate, and the texts that came with it. `attrs` holds `units` (column -> unit),
    `model`, `stable_at` (eV/atom, the threshold of `p_stable`), `ranked` (how many candidates there were to rank),
    `out_of_domain` and `new_anions` (how many of them the model does not know, see `screening.results.ranking`), and
    of a run how many of its `blocks` are `committed`.
    """

    _metadata: ClassVar[list[str]] = ["candidates"]

    @property
    def _constructor(self) -> Callable[..., RankedTable]:
        return RankedTable

    def __repr__(self) -> str:
        """All columns, on as many lines as they take: what matters is in the middle, where pandas leaves out."""
        with pd.option_context("display.max_columns", None):
            return str(super().__repr__())

    def structures(self, tilts: str = UNTILTED, *, conventional: bool = False) -> list[Structure]:
        """The candidates as crystals of pymatgen, in the order of the rows.

        Compositions sit on the positions of their prototype, with the predicted lattice constant; structures are as
        they were given. Site properties are `site` and, where an atom has one, `magmom`, an initial moment; the
        `properties` of each crystal say where it comes from and what is predicted of it.

        Args:
            tilts: How octahedra are turned, see `cgcnn.graphs.tilts`; a relaxation never leaves an untilted start.
            conventional: The usual cell of the space group rather than the smallest.

        Raises:
            UserError: The column `index` is gone, or for compositions `a_angstrom`; there is no such tilt system.
        """
        candidates: Candidates | None = getattr(self, "candidates", None)
        if candidates is None or "index" not in self:
            raise UserError("this table does not say which candidates its rows are; keep the column index")
        lengths = self["a_angstrom"] if "a_angstrom" in self else np.full(len(self), np.nan)
        about = {name: self.attrs[name] for name in ("run", "model", "stable_at") if name in self.attrs}
        turned = {"tilts": tilts} if candidates.site_groups else {}  # structures have whatever they have
        found = []
        for (place, row), a in zip(self.iterrows(), lengths, strict=True):
            structure = candidates.structure(int(row["index"]), float(a), tilts, conventional=conventional)
            found.append(complete(structure, {**about, "rank": place, **describe(row), **turned}))
        return found


def to_table(ranking: Ranking, plan: Plan, **further: Any) -> RankedTable:
    """A ranking as a table.

    Args:
        ranking: Of candidates of the plan.
        plan: Of the run.
        further: What else `attrs` is to hold.
    """
    candidates = plan.candidates
    texts = candidates.texts(ranking.rows["index"].tolist())
    names = [candidates.name(row, texts.get(index, [])) for index, row in ranked_rows(ranking)]
    columns: dict[str, Any] = {"index": ranking.rows["index"]}
    columns |= {name: [row[name] for row in names] for name in ("formula", *candidates.name_columns)}
    columns |= {column.name: ranking.rows[column.name] for column in candidates.ranked}
    remarks = [candidates.remarks(row) for _, row in ranked_rows(ranking)]
    columns |= {name: [row[name] for row in remarks] for name in candidates.remark_columns}
    columns |= {name: np.array(columns[name], dtype=float) for name in (TARGET, ABOVE) if name in columns}
    given = [texts.get(index, []) for index in ranking.rows["index"].tolist()]
    for place, name in enumerate(candidates.text_columns):
        if name not in candidates.name_columns:
            columns[free(name, columns)] = [row[place] for row in given]
    table = RankedTable(columns, index=pd.RangeIndex(1, len(names) + 1, name="rank"))
    table.candidates = candidates
    counts = {name: getattr(ranking, name) for name in ("ranked", "out_of_domain", "new_anions")}
    units = {column.name: column.unit for column in candidates.ranked if column.unit}
    units |= dict.fromkeys({TARGET, ABOVE} & columns.keys(), "eV/atom")
    table.attrs = {"units": units, "model": plan.model.name, "stable_at": plan.stable_at, **counts, **further}
    return table


def to_xarray(run: Run, *, filtered: bool = False) -> xr.Dataset:
    """The committed rows of a run as a data set of xarray, all of them in memory.

    Args:
        run: Finished or not.
        filtered: Keep the candidates that a filter rejected, which have no prediction; and those that failed.

    Returns:
        A variable for each column of the run along `candidate`, with its unit and meaning; as coordinates the number of
        each candidate, its formula, the symbol on each of its sites or its id, and its oxidation states.

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


def _kept(run: Run, *, filtered: bool) -> dict[str, np.ndarray]:
    """The columns of a run and `index`, of all committed rows or of those with a prediction."""
    names = [column.name for column in run.header.columns]
    parts: list[dict[str, np.ndarray]] = []
    for rows in run.blocks(names):
        kept = slice(None) if filtered else rows.columns["status"] == Status.OK
        part = {"index": np.arange(rows.start, rows.stop)} | dict(rows.columns)
        parts.append({name: values[kept] for name, values in part.items()})
    if not parts:
        raise UserError(f"{run.target.url}: no block is done yet.")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _names(plan: Plan, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Formula and sites or id of each row; empty of a candidate that is none."""
    candidates = plan.candidates
    texts = candidates.texts(rows["index"].tolist())
    shown = rows[candidates.shown_by[0]]
    told = ("formula", *candidates.name_columns, *candidates.remark_columns)
    found: dict[str, list[str]] = {name: [] for name in told}
    for place, index in enumerate(rows["index"].tolist()):
        row = {"index": index, **{name: values[place] for name, values in rows.items()}}
        names = candidates.name(row, texts.get(index, [])) | candidates.remarks(row) if shown[place].any() else {}
        for name, values in found.items():
            values.append(names.get(name, ""))
    return {name: np.array(values, dtype=object) for name, values in found.items()}


def _attributes(column: Column, run: Run) -> dict[str, Any]:
    about: dict[str, Any] = {"long_name": column.description} | ({"units": column.unit} if column.unit else {})
    if column.name != "status":
        return about
    meanings = labels(run.header.filters, cascade=bool(run.header.recipe["cascade"]))
    return about | {"flag_values": list(meanings), "flag_meanings": _flags(list(meanings.values()))}


def _flags(meanings: Sequence[str]) -> str:
    """Meanings of flags as the CF conventions write them: words, joined by blanks."""
    return " ".join(meaning.replace(" ", "_") for meaning in meanings)
