"""Crystals as they were found, and how each becomes a structure; parsing waits until then, in whichever process."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cgcnn.data.records import record_id
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from cgcnn.data.records import Record

Form = Literal["record", "cif", "poscar", "pymatgen", "broken"]


@dataclass(frozen=True)
class Entry:
    """One crystal of a data set.

    Attributes:
        id: The record's id or the file's stem.
        labels: What else the data say of it: targets, site columns, folds.
        form: What ``content`` is.
        content: JSON of ``cell``, ``species`` and ``frac`` for a record, a file's text otherwise; of a broken entry,
            the reason.
    """

    id: str
    labels: Record
    form: Form
    content: str


def from_record(record: Record, position: int) -> Entry:
    """The entry of a record, whose crystal is ``cell``, ``species`` and ``frac``, or a ``structure``, or a ``cif``.

    A structure is a dictionary of pymatgen, or its JSON, or a CIF as text. Column names may be of any case.
    """
    name = record_id(record, position)
    for column, value in record.items():
        if column.casefold() in {"structure", "cif"} and value:
            text = value if isinstance(value, str) else json.dumps(value)
            form: Form = "pymatgen" if text.lstrip().startswith("{") else "cif"
            return Entry(name, {k: v for k, v in record.items() if k != column}, form, text)
    crystal = {key: record.get(key) for key in ("cell", "species", "frac")}
    return Entry(name, record, "record", json.dumps(crystal))


def broken(name: str, reason: str) -> Entry:
    """An entry that could not be read."""
    return Entry(name, {"id": name}, "broken", reason)


def structure(form: Form, content: str) -> Structure:
    """The crystal of an entry's form and content.

    Raises:
        UserError: It is none, with the reason.
    """
    if form == "broken":
        raise UserError(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parsers warn of what they mend
            crystal: Structure = _PARSERS[form](content)
    except Exception as error:  # noqa: BLE001  # pymatgen's parsers document no set of errors
        lines = (str(error) or type(error).__name__).splitlines()
        raise UserError(f"not a crystal ({lines[0]}); expected {_EXPECTED[form]}") from None
    if not (len(crystal) and np.isfinite(crystal.cart_coords).all() and crystal.volume > 0):
        raise UserError(f"not a crystal (no atoms, or a number that is not finite); expected {_EXPECTED[form]}")
    return crystal


def _parse_record(content: str) -> Structure:
    from pymatgen.core.lattice import Lattice  # noqa: PLC0415  # heavy; prototype input never needs it
    from pymatgen.core.structure import Structure  # noqa: PLC0415

    record: dict[str, Any] = json.loads(content)
    missing = [key for key, value in record.items() if value is None]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    return Structure(Lattice.from_parameters(*record["cell"]), record["species"], record["frac"])


def _parse_cif(content: str) -> Structure:
    from pymatgen.core.structure import Structure  # noqa: PLC0415

    from cgcnn.data.cif import plain_cif  # noqa: PLC0415  # pymatgen

    plain = plain_cif(content)
    return Structure.from_str(content, fmt="cif") if plain is None else plain


def _parse_poscar(content: str) -> Structure:
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar  # noqa: PLC0415

    warnings.simplefilter("error", BadPoscarWarning)  # without element symbols, pymatgen would make some up
    return Poscar.from_str(content).structure


def _parse_pymatgen(content: str) -> Structure:
    from pymatgen.core.structure import Structure  # noqa: PLC0415

    crystal = json.loads(content)
    for site in crystal["sites"]:
        site.pop("properties", None)  # not needed, and may name classes to import
    crystal.pop("properties", None)
    return Structure.from_dict(crystal)


_PARSERS = {"record": _parse_record, "cif": _parse_cif, "poscar": _parse_poscar, "pymatgen": _parse_pymatgen}
_EXPECTED = {
    "record": "cell, species and frac",
    "cif": "a CIF",
    "poscar": "a POSCAR with element symbols",
    "pymatgen": "a pymatgen Structure",
}
