"""Crystals of samples: parsed by the form in which they were found, and refused where that would not be exact."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.bounds import check_cell, check_count, check_positions, check_vectors
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from cgcnn.data.sample import Form


def structure(form: Form, content: str) -> Structure:
    """The crystal of a sample's form and content.

    Raises:
        UserError: It is none, with the reason.
    """
    if form == "broken":
        raise UserError(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parsers warn of what they mend
            crystal: Structure = _PARSERS[form](content)
        _check(crystal)
    except MemoryError:
        raise UserError("not enough memory to read it; give it a machine with more, or leave it out") from None
    except Exception as error:  # noqa: BLE001  # pymatgen's parsers document no set of errors
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"not a crystal ({reason}); expected {_EXPECTED[form]}") from None
    return crystal


def _check(crystal: Structure) -> None:
    """What holds for crystals of every form."""
    if not len(crystal):
        raise ValueError("no atoms")
    check_count(len(crystal))
    check_vectors(np.asarray(crystal.lattice.matrix))
    check_positions(np.asarray(crystal.frac_coords))
    for symbol in {_symbol(species) for site in crystal for species in site.species}:
        if symbol not in SYMBOLS[1:] and symbol != "D":
            raise ValueError(f"{symbol!r} is not an element that models know (H to {SYMBOLS[-1]})")


def _symbol(species: Any) -> str:
    """Of an element, with or without a charge; deuterium and tritium, which pymatgen has as H too, by their names."""
    element = getattr(species, "element", species)
    return str(getattr(element, "name", species.symbol))


def _parse_record(content: str) -> Structure:
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    record: dict[str, Any] = json.loads(content)
    missing = [key for key, value in record.items() if value is None]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    check_count(len(record["species"]))
    check_cell(record["cell"])
    check_positions(np.array(record["frac"], dtype=np.float64).reshape(-1, 3))
    return Structure(Lattice.from_parameters(*record["cell"]), record["species"], record["frac"])


def _parse_cif(content: str) -> Structure:
    from cgcnn.data.cif import read_cif

    return read_cif(content)


def _parse_poscar(content: str) -> Structure:
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    lines = content.splitlines()
    for line in lines[5:7]:  # symbols and how many atoms of each, or only the latter
        counts = [int(word) for word in line.split("!")[0].split("#")[0].split() if word.isdigit()]
        check_count(sum(counts))
        if sum(counts) > len(lines):
            raise ValueError(f"{sum(counts)} atoms in {len(lines)} lines")
    warnings.simplefilter("error", BadPoscarWarning)  # without element symbols, pymatgen would make some up
    return Poscar.from_str(content).structure


def _parse_pymatgen(content: str) -> Structure:
    from pymatgen.core.structure import Structure

    crystal = json.loads(content)
    check_count(len(crystal["sites"]))
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
