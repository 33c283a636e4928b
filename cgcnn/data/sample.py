"""Samples: what a data set says of one crystal each, as it was found; parsing waits until a graph is built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from cgcnn.data.records import Record

Form = Literal["record", "cif", "poscar", "pymatgen", "broken"]
_STRUCTURES = {"structure", "cif"}  # columns that hold a crystal as a whole
_CRYSTAL = ("cell", "species", "frac")


@dataclass(frozen=True)
class Sample:
    """One crystal of a data set, or one composition.

    Attributes:
        id: The record's id, or the file's stem; the file's relative path where stems are alike.
        labels: What else the data say of it: targets, site columns, folds.
        form: What ``content`` is.
        content: JSON of ``cell``, ``species`` and ``frac`` for a record, a file's text otherwise; of a broken sample,
            the reason.
        path: The file that it was read from, in the directory that was asked for; empty where a file was.
    """

    id: str
    labels: Record
    form: Form
    content: str
    path: str = ""


def from_record(record: Record, position: int | str) -> Sample:
    """The sample of a record, whose crystal is ``cell``, ``species`` and ``frac``, or a ``structure``, or a ``cif``.

    A structure is a dictionary of pymatgen, or its JSON, or a CIF as text. Column names may be of any case.

    Args:
        record: Of a data set.
        position: What names it if it has no id.
    """
    name = record_id(record, position)
    for column, value in record.items():
        if column.casefold() in _STRUCTURES and value:
            text = value if isinstance(value, str) else json.dumps(value)
            form: Form = "pymatgen" if text.lstrip().startswith("{") else "cif"
            return Sample(name, {k: v for k, v in record.items() if k != column}, form, text)
    return Sample(name, record, "record", json.dumps({key: record.get(key) for key in _CRYSTAL}))


def record_id(record: Record, position: int | str) -> str:
    """The record's ``id`` or ``material_id``, or its position in the file (from 0) where it has neither."""
    named = (record.get(key) for key in ("id", "material_id"))
    return next((_name(value) for value in named if value is not None and value != ""), str(position))


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def broken(name: str, reason: str) -> Sample:
    """A sample that could not be read."""
    return Sample(name, {"id": name}, "broken", reason)
