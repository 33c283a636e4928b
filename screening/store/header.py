"""The header of a run: what was asked for, of which space, with which model and code; and the identity to resume."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from screening.store.place import ROOT, Place
from screening.store.shard import Column, array_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = "perovskite-screening run"
SCHEMA = 3  # raised when an older reader would misread a run
MANIFEST = "status/manifest"  # inside an array's directory: Zarr readers list groups, never arrays
COPY = f"{MANIFEST}/header.json"  # second copy of the header, so that a flipped bit in one can be mended


@dataclass(frozen=True)
class Header:
    """What makes a run this run and no other.

    Attributes:
        rows: Size of the space, candidates.
        block_rows: Rows of a block; the last block may have fewer.
        columns: The arrays, in order; one is called `status`.
        recipe: What was asked for; only what decides the results.
        space: What the space is (prototype, sites, elements …).
        filters: Names of the filters in order; status 10+k is the k-th.
        model: Name or path of the model; its digest is its identity.
        model_digest: Of weights and settings.
        code_version: Of this package.
        created: UTC time, ISO 8601.
        records: Digest of the records that the run was given, see `screening.store.records`; empty if of none.
        schema: Version of the run format.
    """

    rows: int
    block_rows: int
    columns: tuple[Column, ...]
    recipe: Mapping[str, Any]
    space: Mapping[str, Any]
    filters: tuple[str, ...]
    model: str
    model_digest: str
    code_version: str
    created: str
    records: str = ""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Check the grid of blocks."""
        if self.rows < 1 or self.block_rows < 1:
            raise UserError(f"{self.rows} candidates in blocks of {self.block_rows}: both must be at least 1.")
        if not any(column.name == "status" for column in self.columns):
            raise ValueError("a run has a column called status")

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.rows // self.block_rows)

    def bounds(self, block: int) -> tuple[int, int]:
        """First row of a block, and the row after its last."""
        return block * self.block_rows, min(self.rows, (block + 1) * self.block_rows)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            UserError: Naming the columns that there are.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UserError(f"column {name}: not in this run. It has {', '.join(c.name for c in self.columns)}.")


def canonical(document: Mapping[str, Any]) -> bytes:
    """JSON that has one form only, so that equal content is equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def files(header: Header) -> dict[str, bytes]:
    """All files of a run without blocks: the group and its copy, and one `zarr.json` for each column."""
    arrays = {column.name: array_document(column, header.rows, header.block_rows) for column in header.columns}
    root = _root_document(header, arrays)
    return {ROOT: root, COPY: root, **metadata_files(root)}


def metadata_files(root: bytes) -> dict[str, bytes]:
    """The `zarr.json` of each column, as the group's consolidated metadata has it."""
    return {f"{name}/{ROOT}": canonical(document) for name, document in array_documents(root).items()}


def array_documents(root: bytes) -> dict[str, dict[str, Any]]:
    """Zarr metadata of each column by name."""
    documents: dict[str, dict[str, Any]] = json.loads(root)["consolidated_metadata"]["metadata"]
    return documents


def digest(root: bytes) -> str:
    """The digest that the header carries; two runs have the same only if one is a copy of the other."""
    return str(json.loads(root)["attributes"]["digest"])


def parse(root: bytes) -> Header:
    """Read a group's `zarr.json`.

    Raises:
        ValueError: If a byte of it has changed, or it is no run of this schema.
    """
    document = json.loads(root)
    attributes = document["attributes"]
    if attributes["schema"] != SCHEMA:
        raise ValueError(f"run format {attributes['schema']}; this version reads {SCHEMA}")
    if root != canonical(document) or attributes["digest"] != _digest(document):
        raise ValueError("the digest of the header does not match its content")
    fields = {name: attributes[name] for name in Header.__dataclass_fields__ if name != "columns"}
    columns = tuple(_column(record) for record in attributes["columns"])
    return Header(**{**fields, "columns": columns, "filters": tuple(attributes["filters"])})


def load(place: Place) -> tuple[Header, bytes]:
    """The header of the run at a place, and its bytes.

    Raises:
        UserError: Where there is no run, or its header is damaged.
    """
    root = place.read(ROOT)
    if root is None and place.read(COPY) is None:
        raise UserError(f"{place.url}: no run here. Pass the path that --out had.")
    try:
        return parse(root or b""), root or b""
    except (ValueError, KeyError, TypeError) as error:
        if not is_run(place):
            raise UserError(f"{place.url}: not a run of this program. Pass the path that --out had.") from error
        reason = " ".join(str(error).split())
        raise UserError(f"{place.url}: damaged header ({reason}). Mend it with screen verify --repair.") from error


def is_run(place: Place) -> bool:
    """Whether a run was made here, however damaged."""
    return FORMAT.encode() in (place.read(ROOT) or b"") or place.exists(COPY)


def differences(run: Header, asked: Header) -> list[str]:
    """What makes the two another run: one phrase each. Block size, model path and time of creation do not."""
    ours, theirs = dict(_leaves(_identity(run))), dict(_leaves(_identity(asked)))
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return [f"{name}: the run has {_short(ours.get(name))}, you have {_short(theirs.get(name))}" for name in names]


def _root_document(header: Header, arrays: Mapping[str, Any]) -> bytes:
    attributes = {"format": FORMAT, **json.loads(json.dumps(_record(header)))}
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    attributes["digest"] = _digest(document)
    return canonical(document)


def _record(header: Header) -> dict[str, Any]:
    record = {name: getattr(header, name) for name in Header.__dataclass_fields__ if name != "columns"}
    columns = [{**asdict(column), "fill": str(column.fill)} for column in header.columns]  # NaN is not JSON
    return {**record, "recipe": dict(header.recipe), "space": dict(header.space), "columns": columns}


def _column(record: Mapping[str, Any]) -> Column:
    fill = {"True": True, "False": False}.get(record["fill"])
    shape, axes = tuple(record["shape"]), tuple(record["axes"])
    return Column(**{**record, "fill": float(record["fill"]) if fill is None else fill, "shape": shape, "axes": axes})


def _digest(document: Mapping[str, Any]) -> str:
    attributes = {name: value for name, value in document["attributes"].items() if name != "digest"}
    return hashlib.blake2b(canonical({**document, "attributes": attributes}), digest_size=16).hexdigest()


def _identity(header: Header) -> dict[str, Any]:
    record = _record(header)
    columns = {column["name"]: f"{column['dtype']}{column['shape']} {column['unit']}" for column in record["columns"]}
    compared = ("schema", "code_version", "rows", "space", "recipe", "filters", "model_digest")
    told = {name.replace("_", " "): json.loads(json.dumps(record[name])) for name in compared}
    return told | {"column": columns, "digest of the input": record["records"]}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # any JSON
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    else:
        yield path, value


def _short(value: Any) -> str:  # noqa: ANN401  # any JSON
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
