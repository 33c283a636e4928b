"""Parse the crystals of samples, and refuse those that cannot be parsed exactly."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.limits import check_apart, check_cell, check_count, check_positions, check_vectors
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import whole_number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.data.samples import Form


def structure(form: Form, content: str) -> Structure:
    """Parse the crystal of a sample's form and content.

    Raises:
        UserError: It is no crystal; the message says why.
    """
    if form == "broken":
        raise UserError(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parsers warn about what they repair
            crystal: Structure = _PARSERS[form](content)
        _check(crystal, form)
    except MemoryError:
        raise UserError("not enough memory to read it; use a machine with more, or remove the crystal") from None
    except Exception as error:  # noqa: BLE001  # pymatgen's parsers document no set of errors
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"not a crystal ({reason}); expected {_EXPECTED[form]}") from None
    return crystal


def _check(crystal: Structure, form: Form) -> None:
    """Refuse crystals that no form may have."""
    if not len(crystal):
        raise ValueError("no atoms")
    check_count(len(crystal))
    check_vectors(np.asarray(crystal.lattice.matrix))
    check_positions(np.asarray(crystal.frac_coords))
    for symbol in {_symbol(species) for site in crystal for species in site.species}:
        if symbol not in SYMBOLS[1:] and symbol != "D":
            raise ValueError(f"{symbol!r} is not an element that models know (H to {SYMBOLS[-1]})")
    if form != "cif":  # its reader checks with the names of its atoms
        check_apart(crystal)


def _symbol(species: Any) -> str:
    """Return the symbol of an element, with or without a charge; D and T for what pymatgen also calls H."""
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
    """Read a POSCAR: with one, three or a negative scale factor, and symbols such as SR, Sr_sv or Sr/4b2f."""
    from pymatgen.core.lattice import Lattice  # heavy; prototype input never needs it
    from pymatgen.core.structure import Structure

    lines = [re.split(r"[!#]", line)[0].split() for line in content.splitlines()]
    factors = _numbers(lines, 1)
    vectors = np.array([_numbers(lines, row, 3) for row in (2, 3, 4)])
    named = bool(lines[5:6] and lines[5] and not lines[5][0].isdecimal())
    counts = [_count(word) for word in lines[6 if named else 5]]
    check_count(sum(counts))
    at = 7 if named else 6
    at += bool(lines[at][:1] and lines[at][0][:1].lower() == "s")  # selective dynamics
    cartesian = lines[at][:1] and lines[at][0][:1].lower() in {"c", "k"}
    rows = lines[at + 1 : at + 1 + sum(counts)]
    if len(rows) < sum(counts):
        raise ValueError(f"{sum(counts)} atoms in {len(lines)} lines")
    places = np.array([_numbers(rows, row, 3) for row in range(len(rows))]).reshape(-1, 3)
    if named and len(lines[5]) != len(counts):
        raise ValueError(f"{len(lines[5])} elements, but {len(counts)} numbers of atoms")
    if named:
        symbols = [symbol for symbol, count in zip(lines[5], counts, strict=True) for _ in range(count)]
    elif any(len(row) < 4 or not row[-1][:1].isalpha() or row[-1] in {"T", "F"} for row in rows):
        raise ValueError("it does not name its elements")
    else:
        symbols = [row[-1] for row in rows]
    elements = [re.split(r"[_/]", symbol)[0].capitalize() for symbol in symbols]
    scale = _scale(factors, vectors)
    lattice = Lattice(vectors * scale)
    return Structure(lattice, elements, places * scale if cartesian else places, coords_are_cartesian=bool(cartesian))


def _scale(factors: list[float], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factors of x, y and z; a negative number is the volume of the cell in Å³."""
    if len(factors) == 1 and factors[0] < 0:
        return np.full(3, (-factors[0] / abs(np.linalg.det(vectors))) ** (1 / 3))
    if len(factors) not in {1, 3} or min(factors) <= 0:
        raise ValueError(f"the scale is {', '.join(f'{factor:g}' for factor in factors)}; give one number, or three")
    return np.array(factors * (3 // len(factors)))


def _numbers(lines: list[list[str]], row: int, count: int = 0) -> list[float]:
    """Read the numbers at the start of a line, as many as wanted or all."""
    words = lines[row][:count] if count else lines[row]
    try:
        found = [float(word.lower().replace("d", "e")) for word in words]
    except ValueError:
        raise ValueError(f"line {row + 1} has {' '.join(words)!r} instead of numbers") from None
    if not found or len(found) < count:
        raise ValueError(f"line {row + 1} has {len(found)} numbers instead of {count or 1}")
    return found


def _count(word: str) -> int:
    found = whole_number(word)
    if found is None:
        raise ValueError(f"{word!r} is not a number of atoms")
    return found


def _parse_pymatgen(content: str) -> Structure:
    from pymatgen.core.structure import Structure

    crystal = json.loads(content)
    check_count(len(crystal["sites"]))
    for site in crystal["sites"]:
        site.pop("properties", None)  # unneeded, and may name classes to import
    crystal.pop("properties", None)
    return Structure.from_dict(crystal)


_PARSERS = {"record": _parse_record, "cif": _parse_cif, "poscar": _parse_poscar, "pymatgen": _parse_pymatgen}
_EXPECTED = {
    "record": "cell, species and frac",
    "cif": "a CIF",
    "poscar": "a POSCAR with element symbols",
    "pymatgen": "a pymatgen Structure",
}
