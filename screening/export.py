"""Exports for other programs: structures from which calculations start, and the ranking as Parquet.

Each file appears whole or not at all.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import string
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any

from cgcnn.data.overwriting import Output
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.graphs.tilts import find_system
from cgcnn.models.card import model_files
from screening.candidates.kind import UNTILTED
from screening.ranking.crystals import Start, make_starts, refuse_other_cifs
from screening.ranking.outputs import rank_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core.structure import Structure

    from screening.ranking.crystals import Start
    from screening.ranking.outputs import Outputs
    from screening.store import StoredRun


VERSION = "1.2.0"
PREFIX = "_screen_"


def optimade_lines(starts: Sequence[Start]) -> Iterator[dict[str, Any]]:
    """Write the lines of an OPTIMADE file, as JSON values."""
    yield {"x-optimade": {"meta": {"api_version": VERSION}}}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for start in starts:
        own = {f"{PREFIX}{name}": value for name, value in start.structure.properties.items()}
        own |= {f"{PREFIX}{name}": values for name, values in start.structure.site_properties.items()}
        attributes = {**attributes_of(start.structure), "last_modified": now, "immutable_id": None, **own}
        yield {"id": start.name, "type": "structures", "attributes": attributes}


def attributes_of(structure: Structure) -> dict[str, Any]:
    """Describe a structure in OPTIMADE's names: lengths in Å, formulas and ratios as its specification has them."""
    symbols = [site.specie.symbol for site in structure]
    counts, atoms = dict(sorted(Counter(symbols).items())), len(symbols)
    units = math.gcd(*counts.values())
    per_unit = {symbol: count // units for symbol, count in counts.items()}
    return {
        "elements": list(counts),
        "nelements": len(counts),
        "elements_ratios": [count / atoms for count in counts.values()],
        "chemical_formula_descriptive": structure.properties.get("formula") or structure.composition.reduced_formula,
        "chemical_formula_reduced": "".join(f"{s}{n if n > 1 else ''}" for s, n in per_unit.items()),
        "chemical_formula_anonymous": anonymous(list(per_unit.values())),
        "chemical_formula_hill": "".join(f"{s}{n if n > 1 else ''}" for s, n in hill(counts)),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "nsites": atoms,
        "species_at_sites": symbols,
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in dict.fromkeys(symbols)],
        "structure_features": [],
    }


def anonymous(counts: Sequence[int]) -> str:
    """Write OPTIMADE's formula without elements: letters A, B, …, Z, Aa, Ba, … with numbers, largest first."""
    letters = [f"{big}{small}" for small, big in product(["", *string.ascii_lowercase], string.ascii_uppercase)]
    ordered = sorted(counts, reverse=True)
    return "".join(f"{letter}{n if n > 1 else ''}" for letter, n in zip(letters, ordered, strict=False))


def hill(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Sort elements in Hill's order: carbon and hydrogen first if there is carbon."""
    first = [symbol for symbol in ("C", "H") if "C" in counts and symbol in counts]
    return [(symbol, counts[symbol]) for symbol in [*first, *(s for s in counts if s not in first)]]


BY_SUFFIX = {
    ".extxyz": "extxyz", ".xyz": "extxyz", ".db": "ase-db", ".json": "json", ".jsonl": "optimade",
    ".parquet": "parquet",
}  # fmt: skip
"""Single-file formats by suffix."""
FOLDERS = {"cif": ".cif", "poscar": ".vasp"}
"""Formats with a file for each structure, and the suffixes of these."""
FORMATS = (*FOLDERS, *dict.fromkeys(BY_SUFFIX.values()))


@dataclass(frozen=True)
class Export:
    """What to write for other programs.

    Attributes:
        path: A file, or for CIF and POSCAR a directory.
        format: One of `FORMATS`; None goes by the suffix, and takes CIF for a directory.
        tilts: Tilt systems, see `cgcnn.graphs.tilts`; each candidate is written in each of them.
        conventional: Write the conventional cell of the space group rather than the smallest cell.
    """

    path: Path
    format: str | None = None
    tilts: tuple[str, ...] = (UNTILTED,)
    conventional: bool = False

    @property
    def kind(self) -> str:
        """The format to write."""
        return self.format or BY_SUFFIX.get(self.path.suffix.lower(), "cif")

    @property
    def output(self) -> Output:
        """The files to write."""
        return Output("export", self.path, (f"*{FOLDERS[self.kind]}",) if self.kind in FOLDERS else ())

    def check(self) -> None:
        """Refuse, before the work begins, an export that could not be written.

        Raises:
            UserError: The format, a tilt system or the path is wrong, or a library is missing.
        """
        if self.kind not in FORMATS:
            raise UserError(f"format {self.kind}: unknown; choose one of {', '.join(FORMATS)}.")
        for system in self.tilts:
            find_system(system)
        _require(self.kind)
        wants_folder = self.kind in FOLDERS
        if self.path.exists() and self.path.is_dir() != wants_folder:
            raise UserError(f"`export` {self.path}: {self.kind} needs a {'directory' if wants_folder else 'file'}.")
        above = self.path.absolute().parent
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise UserError(f"`export` {self.path}: {above} is not a writable directory. Name another place.")


def export_run(run: StoredRun, outputs: Outputs, export: Export) -> int:
    """Write the best candidates of a run as structures, or the ranking as Parquet, and return their number.

    Args:
        run: Finished or not.
        outputs: How to rank, and how many candidates: `outputs.shown`, or for Parquet all unless `top` is set.
        export: What to write.

    Raises:
        UserError: The ranking or the file cannot be made; no file is left half-written.
    """
    export.check()
    outputs.spare(model_files(run.header.model), [export.output])
    table = rank_run(run, outputs, outputs.top if export.kind == "parquet" else outputs.shown)
    if export.kind == "parquet":
        table.write_parquet(export.path)
        return len(table)
    starts = list(make_starts(table, export.tilts, conventional=export.conventional))
    write_starts(starts, export)
    return len(starts)


def write_starts(starts: Sequence[Start], export: Export) -> None:
    """Write structures.

    Raises:
        UserError: A file cannot be written, a library is missing, or the directory holds files of another ranking.
    """
    if export.kind in FOLDERS:
        _write_folder(starts, export.path, FOLDERS[export.kind])
    elif export.kind == "ase-db":
        _write_ase_db(starts, export.path)
    elif export.kind == "extxyz":
        write_whole(export.path, _extxyz(starts))
    elif export.kind == "json":
        write_whole(export.path, json.dumps([start.structure.as_dict() for start in starts]))
    else:
        write_whole(export.path, (json.dumps(line) + "\n" for line in optimade_lines(starts)))


def _write_folder(starts: Sequence[Start], folder: Path, suffix: str) -> None:
    texts = {f"{start.name}{suffix}": (_cif if suffix == ".cif" else _poscar)(start) for start in starts}
    try:
        refuse_other_cifs(folder, set(texts), "export")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"`export` {folder}: cannot be written: {error.strerror}.") from None
    for name, text in texts.items():
        write_whole(folder / name, text)


def _cif(start: Start) -> str:
    """Write all atoms of the cell, named by their sites, below comments that say where the structure comes from."""
    comments = "".join(f"# {line}\n" for line in _provenance(start))
    return comments + str(start.structure.to(fmt="cif"))


def _poscar(start: Start) -> str:
    from pymatgen.io.vasp.inputs import Poscar

    bare = start.structure.copy(properties={})
    return str(Poscar(bare, comment="; ".join(_provenance(start))).get_str(significant_figures=10))


def _provenance(start: Start) -> Iterator[str]:
    for name, value in start.structure.properties.items():
        if value is not None:
            yield f"{name} {' '.join(str(value).split())}"


def _atoms(start: Start) -> Any:
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(start.structure, msonable=False)
    atoms.info = {name: value for name, value in start.structure.properties.items() if value is not None}
    atoms.calc = None
    return atoms


def _extxyz(starts: Sequence[Start]) -> str:
    from ase.io import write

    text = io.StringIO()
    write(text, [_atoms(start) for start in starts], format="extxyz")
    return text.getvalue()


def _write_ase_db(starts: Sequence[Start], path: Path) -> None:
    """Write an ASE database: select by numbers and tilts, as in ``p_stable>0.5``; texts are in `data`."""
    from ase.db import connect

    partial = path.with_name(f".{secrets.token_hex(8)}.partial.db")
    try:
        with connect(partial, type="db") as database:
            for start in starts:
                atoms = _atoms(start)
                texts = {name: value for name, value in atoms.info.items() if isinstance(value, str)}
                keys = {name: value for name, value in atoms.info.items() if name not in texts}
                tilts = {"tilts": texts.pop("tilts")} if "tilts" in texts else {}
                labels = {"labels": start.structure.labels}
                database.write(atoms, key_value_pairs=keys | tilts, data=texts | labels)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"`export` {path}: cannot be written: {error.strerror}.") from None
    finally:
        for rest in (partial, partial.with_name(f"{partial.name}.lock")):
            with suppress(OSError):
                rest.unlink()


def _require(kind: str) -> None:
    """Refuse a format that needs a missing library.

    Raises:
        UserError: The library is missing; the message says what to install.
    """
    library, extra = {"extxyz": ("ase", "ase"), "ase-db": ("ase", "ase")}.get(kind, ("", ""))
    if library:
        try:
            __import__(library)
        except ImportError:
            raise UserError(f"{library} is missing; pip install 'perovskite-screening[{extra}]'") from None
