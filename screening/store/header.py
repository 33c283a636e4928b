"""The header of a run: what was asked for, of which space, with which model and code; and the identity to resume."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cgcnn import __version__
from cgcnn.errors import UserError
from screening.store.shard import Column, array_document, check_column, check_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screening.store.place import Place


DECISIVE = ("torch", "numpy", "pymatgen")
"""Packages whose versions decide the bits of a result: they are part of a run's identity."""
PACKAGES = (*DECISIVE, "zarr", "dask", "distributed")
Versions = tuple[tuple[str, str], ...]


def versions() -> Versions:
    """List name and version of Python, of this program, of the packages that matter, and of the compiled kernel.

    Builds of torch count as one, and instruction sets of the kernel too, which give the same bits.
    """
    from cgcnn.network.template_kernel import VERSION, instruction_sets

    python = ".".join(platform.python_version_tuple()[:2])
    found = ((name, _version(name).partition("+")[0]) for name in PACKAGES)
    kernel = str(VERSION) if instruction_sets() else "not compiled"
    return (("python", python), ("perovskite-screening", __version__), *found, ("template kernel", kernel))


def decisive() -> dict[str, str]:
    """Version of each package that decides the bits of a result."""
    return {name: _version(name).partition("+")[0] for name in DECISIVE}


def version_differences(here: Versions, there: Versions) -> str:
    """Say which versions differ; empty if none do."""
    theirs = dict(there)
    return ", ".join(f"{name} is {theirs.get(name)}, not {mine}" for name, mine in here if theirs.get(name) != mine)


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


FORMAT = "perovskite-screening run"
SCHEMA = 6  # raised when an older reader would misread a run
NESTED = ("columns", "filters", "recipe", "remarks", "space", "versions")
"""Attributes that are written as JSON text: netCDF has no nested ones. Runs of format 5 have them as JSON values."""
ROOT = "zarr.json"  # the file that makes a directory a run
MANIFEST = "status/manifest"  # inside an array's directory: Zarr readers list groups, never arrays
COPY = f"{MANIFEST}/header.json"  # second copy of the header, so that a flipped bit in one can be mended
MOST_BLOCKS = 2**26  # what a reader keeps of each is some hundred bytes
MOST_BLOCK_ROWS = 2**26  # a reader holds the columns of one block in memory
MOST_COLUMNS = 1_000
LARGEST = 64 * 2**20  # bytes of a header, which holds the recipe
NAME = re.compile(r"[a-z0-9_]+")  # of a column, which is also the name of its directory
VERSIONS = ("versions", "kernel")
"""Identity fields that `--accept-versions` allows to differ."""
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""What parsing damaged or hostile JSON raises."""


class OtherFormatError(ValueError):
    """The header of a run that another version of this program made."""


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
        versions: Of the packages that decide the bits of the results.
        kernel: Name and version of what evaluates the network; empty if it has none.
        remarks: Notes that decide nothing, such as the source of the hull; no part of the run's identity.
        schema: Version of the run format.
        digest: Of all this, as read; empty of a header that is yet to be written. No two runs share one.
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
    versions: Mapping[str, str] = field(default_factory=dict)
    kernel: str = ""
    remarks: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA
    digest: str = ""

    def __post_init__(self) -> None:
        """Check the grid of blocks and the names of the columns."""
        if type(self.rows) is not int or type(self.block_rows) is not int:
            raise ValueError("rows and block_rows must be whole numbers")
        if self.rows < 1 or self.block_rows < 1:
            raise UserError(f"{self.rows} candidates in blocks of {self.block_rows}: both must be at least 1.")
        if self.n_blocks > MOST_BLOCKS:
            raise UserError(
                f"{self.n_blocks} blocks: more than {MOST_BLOCKS} cannot be kept track of; larger blocks can."
            )
        if self.block_rows > MOST_BLOCK_ROWS:
            raise UserError(f"blocks of {self.block_rows} candidates: up to {MOST_BLOCK_ROWS} are possible.")
        names = [column.name for column in self.columns]
        if odd := [name for name in names if not NAME.fullmatch(name)]:
            raise ValueError(f"column {odd[0]!r}: a name has small letters, digits and underscores alone")
        if "status" not in names or len(set(names)) < len(names):
            raise ValueError("a run has one column called status, and no two of one name")

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.rows // self.block_rows)

    def bounds(self, block: int) -> tuple[int, int]:
        """First row of a block, and the row after its last."""
        return block * self.block_rows, min(self.rows, (block + 1) * self.block_rows)

    def column(self, name: str) -> Column:
        """Return the column of that name.

        Raises:
            UserError: Naming the columns that there are.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UserError(f"column {name}: not in this run. It has {', '.join(c.name for c in self.columns)}.")


def canonical(document: Any) -> bytes:
    """JSON that has one form only, so that equal content is equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def files(header: Header) -> dict[str, bytes]:
    """Make all files of a run without blocks: the group and its copy, and one `zarr.json` for each column."""
    arrays = {column.name: array_document(column, header.rows, header.block_rows) for column in header.columns}
    root = _root_document(header, arrays)
    return {ROOT: root, COPY: root, **metadata_files(root)}


def metadata_files(root: bytes) -> dict[str, bytes]:
    """Return the `zarr.json` of each column, as the group's consolidated metadata has it."""
    return {f"{name}/{ROOT}": canonical(document) for name, document in array_documents(root).items()}


def array_documents(root: bytes) -> dict[str, dict[str, Any]]:
    """Zarr metadata of each column by name."""
    documents: dict[str, dict[str, Any]] = json.loads(root)["consolidated_metadata"]["metadata"]
    return documents


def digest_of(root: bytes) -> str:
    """Read the digest from the bytes of a header; two runs have the same only if one is a copy of the other."""
    return str(json.loads(root)["attributes"]["digest"])


def parse(root: bytes) -> Header:
    """Read a group's `zarr.json`.

    Raises:
        ValueError: If a byte of it has changed, or it is no run of this schema.
    """
    document = json.loads(root)
    schema = document["attributes"]["schema"]
    if schema not in {5, SCHEMA}:
        raise OtherFormatError(f"run format {schema}; this version reads 5 and {SCHEMA}")
    if root != canonical(document) or document["attributes"]["digest"] != _digest(document):
        raise ValueError("the digest of the header does not match its content")
    texts = {name: json.loads(document["attributes"][name]) for name in NESTED} if schema == SCHEMA else {}
    attributes = document["attributes"] | texts
    fields = {name: attributes[name] for name in Header.__dataclass_fields__.keys() & attributes if name != "columns"}
    columns = tuple(_column(record) for record in attributes["columns"])
    documents = array_documents(root)
    if documents.keys() != {column.name for column in columns} or len(columns) > MOST_COLUMNS:
        raise ValueError("its arrays are not its columns")
    _check_texts(attributes)
    header = Header(**{**fields, "columns": columns, "filters": tuple(attributes["filters"])})
    for column in columns:
        check_column(column)
        check_document(documents[column.name], column, header.rows, header.block_rows)
    return header


def _check_texts(attributes: Mapping[str, Any]) -> None:
    """Raise ValueError unless what readers take for text or a mapping is such."""
    texts = ("model", "model_digest", "code_version", "created", "records", "kernel", "digest")
    if odd := [name for name in texts if not isinstance(attributes.get(name, ""), str)]:
        raise ValueError(f"{odd[0]} is not text")
    maps = ("recipe", "space", "versions", "remarks")
    if odd := [name for name in maps if not isinstance(attributes.get(name, {}), dict)]:
        raise ValueError(f"{odd[0]} is not a mapping")
    lists = [*attributes["filters"], *attributes.get("versions", {}).values(), *attributes.get("remarks", {}).values()]
    if not all(isinstance(text, str) for text in lists):
        raise ValueError("filters, versions and remarks are not text")


def load(place: Place) -> tuple[Header, bytes]:
    """Load the header of the run at a place, and its bytes.

    Raises:
        UserError: Where there is no run, or its header is damaged.
    """
    root, copy = place.read(ROOT, LARGEST), place.read(COPY, LARGEST)
    if root is None and copy is None:
        raise UserError(f"{place.url}: no run here. Pass the path that `out` had.")
    try:
        header = parse(root or b"")
    except OtherFormatError as error:
        raise UserError(f"{place.url}: {error}. The version that made the run can read it.") from error
    except UNREADABLE as error:
        if not is_run(place):
            raise UserError(f"{place.url}: not a run of this program. Pass the path that `out` had.") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{place.url}: damaged header ({reason}). Mend it with screen verify --repair.") from error
    if copy is not None and copy != root and is_sound(copy):
        raise two_runs(place)
    return header, root or b""


def is_sound(root: bytes) -> bool:
    """Check whether these are the bytes of a header, unchanged."""
    try:
        parse(root)
    except UNREADABLE:
        return False
    return True


def two_runs(place: Place) -> UserError:
    """Explain that both headers are sound and differ."""
    return UserError(
        f"{place.url}: {ROOT} and {COPY} are of two runs. screen verify --repair keeps the one that the blocks belong "
        "to; where there is no block yet, put back the right one."
    )


def of_another_run(place: Place) -> UserError:
    """Explain that every committed block belongs to another run than the header."""
    return UserError(
        f"{place.url}: the header is that of another run than the blocks. Restore {ROOT} from a backup; nothing was "
        "changed."
    )


def is_run(place: Place) -> bool:
    """Check whether a run was made here, however damaged."""
    return FORMAT.encode() in (place.read(ROOT, LARGEST) or b"") or place.exists(COPY)


def differences(run: Header, asked: Header, *, but: tuple[str, ...] = ()) -> list[str]:
    """List what makes the two different runs, one phrase each. Block size, model path and time of creation do not.

    Args:
        run: The run that there is.
        asked: What it is to be.
        but: Parts of the identity that are not looked at, such as `VERSIONS`.
    """
    ours, theirs = dict(_leaves(_identity(run, but))), dict(_leaves(_identity(asked, but)))
    names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return [f"{name}: the run has {_short(ours.get(name))}, you have {_short(theirs.get(name))}" for name in names]


def _root_document(header: Header, arrays: Mapping[str, Any]) -> bytes:
    attributes = {"format": FORMAT, **json.loads(json.dumps(_record(header)))}
    if header.schema == SCHEMA:
        attributes |= {name: canonical(attributes[name]).decode() for name in NESTED}
    document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }
    attributes["digest"] = _digest(document)
    return canonical(document)


def _record(header: Header) -> dict[str, Any]:
    names = Header.__dataclass_fields__.keys() - {"columns", "digest"}
    record = {name: getattr(header, name) for name in names}
    columns = [{**asdict(column), "fill": str(column.fill)} for column in header.columns]  # NaN is not JSON
    plain = {name: dict(record[name]) for name in ("recipe", "space", "versions", "remarks")}
    return {**record, **plain, "columns": columns}


def _column(record: Mapping[str, Any]) -> Column:
    fill = {"True": True, "False": False}.get(record["fill"])
    shape, axes = tuple(record["shape"]), tuple(record["axes"])
    return Column(**{**record, "fill": float(record["fill"]) if fill is None else fill, "shape": shape, "axes": axes})


def _digest(document: Mapping[str, Any]) -> str:
    attributes = {name: value for name, value in document["attributes"].items() if name != "digest"}
    return hashlib.blake2b(canonical({**document, "attributes": attributes}), digest_size=16).hexdigest()


def _identity(header: Header, but: tuple[str, ...]) -> dict[str, Any]:
    record = _record(header)
    columns = {column["name"]: f"{column['dtype']}{column['shape']} {column['unit']}" for column in record["columns"]}
    compared = ("schema", "code_version", *VERSIONS, "rows", "space", "recipe", "filters", "model_digest")
    told = {name.replace("_", " "): json.loads(json.dumps(record[name])) for name in compared if name not in but}
    return told | {"column": columns, "digest of the input": record["records"]}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    else:
        yield path, value


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
