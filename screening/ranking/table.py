"""Rank a run: `rank` is the only way from the blocks of a run to an order, and a `Ranking` is what every output takes.

DuckDB sorts and writes, out of core: a ranking of all candidates of a large run lies in a temporary folder, not in
memory.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import replacing
from cgcnn.machine import cores
from screening.candidates.kind import DECIMALS, Field, split_ranked
from screening.candidates.texts import array, strings
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from screening.candidates.kind import Candidates
    from screening.plan import Plan
    from screening.ranking.user_hull import HullCheck
    from screening.store import Column

    Columns = Mapping[str, np.ndarray]
    BlockRows = tuple[int, Columns]
    """Index of the first row of a block, and its columns."""
    Blocks = Callable[[], Iterable[BlockRows]]
    """Reads the blocks of a run, anew each time it is called."""

DESCENDING = frozenset({"p_stable", "in_domain", "charge_balanced", "in_training", "redox", "p_perovskite", "promise"})
"""Columns whose largest value ranks first unless asked otherwise; all others rank from the smallest."""

DIRECTIONS = {"asc": False, "desc": True}
"""Directions after a colon -> whether the largest value ranks first."""

MEMORY = "1GB"
"""Memory of DuckDB, beyond which it spills to a temporary folder."""
THREADS = 4
"""More threads need more memory, and writing does not get faster."""
AHEAD = 2
"""Blocks that are read while others are sorted."""
FORMULA_STARTS = "^[=+@-]"
"""Regular expression of texts that a spreadsheet would run as formulas."""


@dataclass(frozen=True)
class Groups:
    """The few best of each kind, for picks that differ from one another.

    Attributes:
        sites: Columns of `species` whose elements, in any order, make a kind.
        size: Number of each kind to keep.
    """

    sites: tuple[int, ...]
    size: int


@dataclass
class Counts:
    """Counts of the rows that a ranking is made of.

    Attributes:
        ranked: Candidates of the run that could be ranked; a ranking of the top has fewer rows.
        out_of_domain: Candidates among them with an element on a site where the model never saw it.
        new_anions: Candidates among the others with elements on X that the model never saw together.
    """

    ranked: int = 0
    out_of_domain: int = 0
    new_anions: int = 0

    def add(self, rows: Columns) -> None:
        """Count rows."""
        count = len(rows["index"])
        outside = ~rows["in_domain"] if "in_domain" in rows else np.zeros(count, dtype=bool)
        new = ~outside & (rows["domain_distance"] > 0) if "domain_distance" in rows else np.zeros(count, dtype=bool)
        self.ranked += count
        self.out_of_domain += int(np.count_nonzero(outside))
        self.new_anions += int(np.count_nonzero(new))


class Ranking:
    """A ranking: candidates in order of rank, out of core.

    Attributes:
        plan: Plan of the run; its candidates say what the rows are.
        fields: The columns, in the order of the ranked CSV.
        counts: Counts of the candidates behind it.
        about: Where it comes from: the `run` (a path or URL), and how many of its `blocks` are `committed`.
        notes: Warnings.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, database: Database, plan: Plan, counts: Counts, about: Mapping[str, Any]) -> None:
        self.plan, self.counts, self.about = plan, counts, about
        self.fields: tuple[Field, ...] = tuple(table_fields(plan.candidates))
        self._database = database
        self._widths: dict[str, int] = {}
        self._length = int(database.sql("SELECT count(*) FROM ranked").fetchall()[0][0])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [field.name for field in self.fields]

    def arrays(self, *names: str) -> dict[str, np.ndarray]:
        """Read columns, all of them by default: arrays (n,) in order of rank, NaN or "" where there is nothing."""
        return self._arrays([field for field in self.fields if not names or field.name in names])

    def _arrays(self, fields: Sequence[Field], count: int | None = None) -> dict[str, np.ndarray]:
        found = self._select(fields, count).to_arrow_table()
        return {field.name: _to_numpy(field, found.column(at)) for at, field in enumerate(fields)}

    @property
    def species(self) -> NDArray[np.uint8]:
        """Atomic numbers on the sites of each candidate, (n, n_sites); none of structures."""
        return self.first_species()

    def first_species(self, count: int | None = None) -> NDArray[np.uint8]:
        """Return `species` of the first rows."""
        candidates = self.plan.candidates
        sites = candidates.site_groups
        shown = self._arrays([field for field in self.fields if field.name in candidates.name_columns], count)
        width = 1 + max((max(at) for at in sites.values()), default=-1)
        rows = len(self) if count is None else min(count, len(self))
        found = np.zeros((rows, width), dtype=np.uint8)
        for name in sorted(candidates.name_columns, key=lambda name: -len(sites[name])):  # a role, then its sites
            found[:, sites[name]] = _numbers(shown[name])[:, None]
        return found

    def check(self, notes: HullCheck, prototype: Prototype, count: int) -> None:
        """Add columns that are worked out of the first rows alone, as of all it would take too long; null in others.

        A column that the table has already keeps its values.
        """
        fields = [field for field in notes.columns if field.name not in self.names]
        found = notes.columns_of({"species": self.first_species(count)}, prototype)
        first = pa.table({"place": np.arange(min(count, len(self))), **{f.name: found[f.name] for f in fields}})
        self._database.add("ranked", first)
        self.fields += tuple(fields)

    def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """Read the first rows as Python values; NaN or "" where there is nothing."""
        columns = self._arrays(self.fields, count)
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in values]

    def texts(self, count: int | None = None) -> list[dict[str, str]]:
        """Write the first rows as texts, as the ranked CSV has them."""
        found = self._select(self.fields, count, text=True).fetchall()
        return [{name: _text(value) for name, value in zip(self.names, row, strict=True)} for row in found]

    def query(self, statement: str) -> pa.Table:
        """Run an SQL query over `candidates`, the rows of this ranking, with DuckDB.

        Raises:
            UserError: The statement is wrong, or selects nothing.
        """
        self._database.run("CREATE OR REPLACE TEMP VIEW candidates AS SELECT rowid + 1 AS rank, * FROM ranked")
        try:
            if [part.type for part in duckdb.extract_statements(statement)] != [duckdb.StatementType.SELECT]:
                raise UserError(f"{statement}: not one query. Write SELECT … FROM candidates.")
            return self._database.sql(statement).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"{statement}: {' '.join(str(error).split())}") from None

    def write_csv(self, path: Path) -> None:
        """Write all rows as CSV; the file appears whole or not at all.

        Raises:
            UserError: The file cannot be written.
        """
        self._write(path, self._sql(text=True, guarded=True), "FORMAT csv, HEADER true")

    def write_parquet(self, path: Path) -> None:
        """Write all rows as Parquet, with all digits; the file appears whole or not at all.

        Raises:
            UserError: The file cannot be written.
        """
        self._write(path, self._sql(), "FORMAT parquet, COMPRESSION zstd")

    def _write(self, path: Path, query: str, options: str) -> None:
        with replacing(path) as partial:
            target = str(partial).replace("'", "''")
            self._database.run(f"COPY ({query}) TO '{target}' ({options}, USE_TMP_FILE false)")

    def _select(self, fields: Sequence[Field], count: int | None = None, *, text: bool = False) -> Any:
        limit = "" if count is None else f" LIMIT {count}"
        return self._database.sql(f"{self._sql(fields, text=text)}{limit}")

    def _sql(self, fields: Sequence[Field] | None = None, *, text: bool = False, guarded: bool = False) -> str:
        """Select columns of the rows in order; as `text` with their decimals, `guarded` against spreadsheets too."""
        chosen = [
            f"{_expression(field, text=text, guarded=guarded)} AS {quoted(field.name)}"
            for field in (self.fields if fields is None else fields)
        ]
        return f"SELECT {', '.join(chosen)} FROM ranked"


def _expression(field: Field, *, text: bool, guarded: bool) -> str:
    if field.name == "rank":
        return "rowid + 1"
    column = quoted(field.name)
    if text and field.kind == "number" and field.decimals is not None:
        return f"TRY_CAST({column}::DOUBLE AS DECIMAL(18, {field.decimals}))"
    if guarded and field.kind == "text":
        starts = f"{column} < 'A' AND regexp_matches({column}, '{FORMULA_STARTS}')"  # most texts need no regex
        formula = f"{starts} AND TRY_CAST({column} AS DOUBLE) IS NULL"
        return f"CASE WHEN {formula} THEN '''' || {column} ELSE {column} END"
    return column


def rank(  # noqa: PLR0913  # all but two have defaults
    blocks: Blocks,
    plan: Plan,
    *,
    sort: str = "e_above_hull",
    top: int | None = None,
    groups: Groups | None = None,
    spill: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Ranking:
    """Rank the scored candidates of a run.

    Candidates in the model's domain come first, where the run knows it; then the sorted columns decide, then the
    energy, then the index. For the best few, only the columns that decide are read of all candidates.

    Args:
        blocks: The blocks of the run, each with `status`.
        plan: Plan of the run.
        sort: The columns that decide, the first one first, separated by commas; see `check_sort`.
        top: Number of candidates to keep; None keeps all.
        groups: Keep only the best of each kind.
        spill: Folder for what does not fit in memory; None takes the one for temporary files.
        about: Where the ranking comes from, such as its run.

    Raises:
        UserError: No candidate can be ranked, or the disk is full.
    """
    counts, database = Counts(), Database(spill)
    rows: Iterator[Columns] = _scored(blocks())
    if top is not None or groups is not None:
        best = _best(database, map_counted(rows, counts), sort, top, groups)
        rows = _picked(blocks(), best)
    else:
        rows = map_counted(rows, counts)
    _fill(database, rows, plan.candidates, sort)
    return Ranking(database, plan, counts, about or {})


def check_sort(sort: str, names: Sequence[str]) -> None:
    """Refuse columns that a ranking does not have.

    Args:
        sort: Columns separated by commas, each alone or with a direction, such as ``tau:desc,e_above_hull``.
        names: The columns that there are.

    Raises:
        UserError: A column does not exist, or a direction is neither asc nor desc; the message lists the columns.
    """
    for key in sort.split(","):
        column, given, direction = key.strip().partition(":")
        if column not in names:
            raise UserError(f"`sort` {column}: no such column. Choose one of {', '.join(names)}.")
        if given and direction not in DIRECTIONS:
            raise UserError(f"`sort` {sort}: {direction!r} is not a direction. Write {column}:asc or {column}:desc.")


def map_counted(batches: Iterable[Columns], counts: Counts) -> Iterator[Columns]:
    """Pass rows on, counted.

    Raises:
        UserError: There are no rows.
    """
    for rows in batches:
        counts.add(rows)
        yield rows
    if not counts.ranked:
        raise UserError("No candidate of this run can be ranked: all were filtered or failed.")


def _scored(blocks: Iterable[BlockRows]) -> Iterator[Columns]:
    for start, columns in blocks:
        kept = np.flatnonzero(columns["status"] == Status.OK)
        if len(kept):
            yield Picked(columns, kept, start)


def _picked(blocks: Iterable[BlockRows], best: NDArray[np.int64]) -> Iterator[Columns]:
    """Pick the rows of these candidates, whose indices ascend."""
    for start, columns in blocks:
        first, last = np.searchsorted(best, [start, start + len(columns["status"])])
        if last > first:
            yield Picked(columns, best[first:last] - start, start)


class Picked(Mapping[str, np.ndarray]):
    """Some rows of a block, with their `index`; a column is read only when something asks for it."""

    def __init__(self, columns: Columns, kept: NDArray[np.int64], start: int) -> None:
        self._columns, self._kept = columns, kept
        self._there = {"index": kept + start}

    def __getitem__(self, name: str) -> np.ndarray:
        """Read a column, (n,) or (n, …)."""
        if name not in self._there:
            self._there[name] = self._columns[name][self._kept]
        return self._there[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(("index", *self._columns))

    def __len__(self) -> int:
        """Return the number of columns."""
        return 1 + len(self._columns)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a column, without reading it."""
        return name == "index" or name in self._columns


def _best(
    database: Database, batches: Iterable[Columns], sort: str, top: int | None, groups: Groups | None
) -> NDArray[np.int64]:
    """Find the indices of the best candidates, ascending; only the columns that decide are read."""
    names = dict.fromkeys(["in_domain", *(column for column, _ in _keys(sort)), "e_above_hull"])

    def decisive(rows: Columns) -> dict[str, Any]:
        found = {"index": array(rows["index"]), **{name: array(rows[name]) for name in names if name in rows}}
        found.setdefault("in_domain", array(np.ones(len(rows["index"]), dtype=bool)))
        return found if groups is None else found | {"kind": array(_kinds(rows["species"], groups.sites))}

    order = _order(sort)
    of_kind = f" QUALIFY row_number() OVER (PARTITION BY kind ORDER BY {order}) <= {groups.size}" if groups else ""
    limit = f" LIMIT {top}" if top is not None else ""
    query = f'SELECT "index" FROM source{of_kind} ORDER BY {order}{limit}'
    found = database.ingest(query, (pa.record_batch(decisive(rows)) for rows in batches))
    return np.sort(np.asarray(found["index"], dtype=np.int64))


def _fill(database: Database, batches: Iterable[Columns], candidates: Candidates, sort: str) -> None:
    """Fill the table `ranked` with rows, in order."""
    kept = [field for field in table_fields(candidates) if field.name != "rank"]
    further = {column for column, _ in _keys(sort)} - {field.name for field in kept}
    unknown = "in_domain" not in {field.name for field in kept}

    def whole(rows: Columns) -> pa.RecordBatch:
        labels = labels_of(candidates, rows)
        columns = {f.name: labels[f.name] if f.name in labels else array(rows[f.name]) for f in kept}
        columns |= {name: array(rows[name]) for name in further}
        if unknown:
            columns["in_domain"] = array(np.ones(len(rows["index"]), dtype=bool))
        return pa.record_batch(columns)

    names = ", ".join(quoted(field.name) for field in kept)
    query = f"CREATE TABLE ranked AS SELECT {names} FROM source ORDER BY {_order(sort)}"
    with ThreadPoolExecutor(THREADS) as readers:
        database.ingest(query, _ahead(readers, whole, batches))


def _ahead(
    pool: ThreadPoolExecutor, make: Callable[[Columns], pa.RecordBatch], batches: Iterable[Columns]
) -> Iterator[pa.RecordBatch]:
    """Make record batches in order, a few of them ahead."""
    waiting = deque[Future[pa.RecordBatch]]()
    for rows in batches:
        waiting.append(pool.submit(make, rows))
        if len(waiting) > AHEAD:
            yield waiting.popleft().result()
    yield from (batch.result() for batch in waiting)


def labels_of(candidates: Candidates, rows: Columns) -> dict[str, pa.Array]:
    """Write all texts of n rows with their `index`, by the names that `table_fields` gives them."""
    found = dict(candidates.labels(rows))
    if candidates.text_columns:
        indices = rows["index"].tolist()
        texts = candidates.texts(indices)
        taken = _own_names(candidates)
        for at, name in enumerate(candidates.text_columns):
            column = name if name in candidates.name_columns else free(name, taken)
            taken.add(column.casefold())
            found[column] = strings([texts[index][at] for index in indices])
    return found


def _own_names(candidates: Candidates) -> set[str]:
    own = [*(f.name for f in (*_FIRST, *candidates.remark_columns)), *(c.name for c in candidates.ranked)]
    return {name.casefold() for name in (*own, *candidates.name_columns)}


def _keys(sort: str) -> list[tuple[str, bool]]:
    """Parse the sort columns, each with whether its largest value ranks first."""
    keys = [key.strip().partition(":") for key in sort.split(",")]
    return [(column, DIRECTIONS.get(direction, column in DESCENDING)) for column, _, direction in keys]


def _order(sort: str) -> str:
    keys = [*_keys(sort), ("e_above_hull", False)]
    decisive = [f"{quoted(column)} {'DESC' if largest else 'ASC'} NULLS LAST" for column, largest in keys]
    return ", ".join(["in_domain DESC", *decisive, '"index"'])


def _kinds(species: NDArray[np.uint8], sites: Sequence[int]) -> NDArray[np.int64]:
    """Number the kinds of species (n, n_sites): their elements on these sites, in any order."""
    elements = np.sort(species[:, list(sites)].astype(np.int64), axis=1)
    return elements @ (128 ** np.arange(elements.shape[1], dtype=np.int64))


def _to_numpy(field: Field, values: pa.ChunkedArray) -> np.ndarray:
    if field.kind == "text":
        return np.array([text or "" for text in values.to_pylist()], dtype=object)
    if field.kind == "number":
        return np.asarray(values.to_numpy(), dtype=np.float32)
    return np.asarray(values.to_numpy(), dtype=bool if field.kind == "flag" else np.int64)


def _numbers(symbols: np.ndarray) -> NDArray[np.uint8]:
    known, place = np.unique(symbols.astype(str), return_inverse=True)
    return np.array([SYMBOLS.index(symbol) for symbol in known], dtype=np.uint8)[place]


def _text(value: Decimal | float | str | bool | None) -> str:  # noqa: FBT001
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def table_fields(candidates: Candidates) -> list[Field]:
    """List the columns of a ranking, in the order of the ranked CSV."""
    values, last = ([_of_column(column) for column in columns] for columns in split_ranked(candidates.ranked))
    names = [_of_text(name, candidates) for name in candidates.name_columns]
    own = [*_FIRST, *names, *values, *candidates.remark_columns, *last]
    taken = _own_names(candidates)
    for name in candidates.text_columns:
        if name not in candidates.name_columns:
            own.append(Field(free(name, taken), "text", description="as it was given"))
            taken.add(own[-1].name.casefold())
    return own


def free(name: str, taken: Collection[str]) -> str:
    """Find a column name that hides none of the taken ones, which are casefolded."""
    while name.casefold() in taken:
        name = f"input_{name}"
    return name


def _of_text(name: str, candidates: Candidates) -> Field:
    if name in candidates.text_columns:
        return Field(name, "text", description="its name in what was screened")
    return Field(name, "text", description=f"element on {name}")


def _of_column(column: Column) -> Field:
    kind: Literal["flag", "number"] = "flag" if column.dtype == "bool" else "number"
    return Field(column.name, kind, column.unit, column.description, DECIMALS.get(column.name))


_FIRST = (
    Field("rank", "integer", description="place in the ranking"),
    Field("index", "integer", description="number of the candidate in the run"),
    Field("formula", "text", description="elements in the order of their sites"),
)


class Database:
    """An in-memory DuckDB that spills to a folder of its own, and removes it."""

    def __init__(self, spill: Path | None = None) -> None:
        folder = Path(spill or tempfile.gettempdir()) / f".ranking-{secrets.token_hex(8)}"
        config: dict[str, Any] = {
            "temp_directory": str(folder),
            "memory_limit": MEMORY,
            "threads": min(cores(), THREADS),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET enable_progress_bar = false")
        self.close = weakref.finalize(self, _close, self._connection, folder)

    def ingest(self, query: str, batches: Iterator[pa.RecordBatch]) -> dict[str, np.ndarray]:
        """Run a query over `source`, record batches that are read once each, and return the result by column.

        Raises:
            UserError: A batch cannot be read, or the disk is full.
        """
        failed: list[BaseException] = []

        def watched() -> Iterator[pa.RecordBatch]:
            try:
                yield from chain([first], batches)
            except BaseException as error:
                failed.append(error)
                raise

        first = next(batches)
        self._connection.register("source", pa.RecordBatchReader.from_batches(first.schema, watched()))
        try:
            return self.run(query)
        except UserError:
            if failed:  # DuckDB keeps only its text
                raise failed[0] from None
            raise
        finally:
            self._connection.unregister("source")

    def add(self, table: str, first: pa.Table) -> None:
        """Add columns to a table: values of its rows at `place`, counted from 0; null in all others."""
        names = [name for name in first.column_names if name != "place"]
        self._connection.register("added", first)
        try:
            for name, kind in zip(
                names, self.sql(f"SELECT {', '.join(map(quoted, names))} FROM added").types, strict=True
            ):
                self.run(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {kind}")
            values = ", ".join(f"{quoted(name)} = added.{quoted(name)}" for name in names)
            self.run(f"UPDATE {table} SET {values} FROM added WHERE {table}.rowid = added.place")
        finally:
            self._connection.unregister("added")

    def sql(self, query: str) -> Any:
        """Return the result of a query as a DuckDB relation; None for a statement without a result."""
        return self._connection.sql(query)

    def run(self, query: str) -> dict[str, np.ndarray]:
        """Run a query and return its result by column.

        Raises:
            UserError: It cannot be done, for example as the disk is full.
        """
        try:
            return dict(self._connection.execute(query).fetchnumpy())
        except duckdb.Error as error:
            raise UserError(f"the ranking cannot be made: {str(error).splitlines()[0]}") from None


def _close(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)
