"""Entries of competing phases: reading them from files, and finding out whether their energies belong together.

Files are JSON or JSON Lines, perhaps compressed: entries of pymatgen (`ComputedEntry`, `PDEntry`, a `PhaseDiagram`),
or documents of the Materials Project's `thermo` route. No class that a file names is imported. Lists are read an entry
at a time, so that memory holds what a hull needs of each, not the structures that came with it.

Shapes: N entries, M compositions.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import re
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

import numpy as np

from cgcnn.data.limits import decompressed
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import open_regular
from screening.chemistry.sources import NUMBERS, formation_energies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Unit = tuple[tuple[int, float], ...]
"""Atomic number and number of atoms of each element of a formula unit, ascending."""

FORM = "Give what monty.dumpfn writes of a list of ComputedEntry"
GET_ONE_SCALE = (
    "Get them with mpr.get_entries_in_chemsys(SYSTEM, additional_criteria={'thermo_types': ['GGA_GGA+U']}), or leave "
    "the others out"
)
SUFFIXES = (".json", ".jsonl", ".ndjson")
NEAR = 1e-4
"""How far from a whole number the atoms of a cell may be."""
CHUNK = 1 << 20
"""Characters that are read at once."""
VALUE = 1 << 29
"""Characters of one JSON value, such as an entry or a whole `PhaseDiagram`."""

SOME = 0.02
"""Share of entries from which on a fault is one of the file, not of a few entries."""
LOWEST, HIGHEST = -5.5, 2.5
"""Bounds of formation energies, eV/atom: of 83,141 compositions of the Materials Project all lie in -4.6 to 1.5."""
GROSS = 1.0
"""Difference from a known formation energy, eV/atom, that no functional and no correction explains."""
APART = 3.0
"""How far below the next entry of an element the lowest may lie, eV/atom, before it is worth a word."""

_LEAST = {
    "O": -0.687, "S": -0.503, "F": -0.462, "Cl": -0.614, "Br": -0.534, "I": -0.379, "N": -0.361, "Se": -0.472,
    "Te": -0.422, "Sb": -0.192, "H": -0.179, "V": -1.7, "Cr": -2.013, "Mn": -1.681, "Fe": -2.733, "Co": -1.874,
    "Ni": -2.541, "W": -4.438, "Mo": -3.531,
}  # fmt: skip
LEAST = {NUMBERS[name]: correction for name, correction in _LEAST.items()}
"""The lowest correction of an atom, eV, that MaterialsProject2020Compatibility or its predecessor makes."""
METALS = frozenset(NUMBERS[name] for name in ("V", "Cr", "Mn", "Fe", "Co", "Ni", "W", "Mo"))
"""Elements that are calculated with a U in oxides and fluorides, and corrected for that."""
HALIDES = OXYGEN, FLUORINE, *_ = tuple(NUMBERS[name] for name in ("O", "F", "Cl", "Br", "I"))
"""Anions that corrections always count, where they are the most electronegative element."""

_FAMILIES = {"GGA": "GGA", "PBE": "GGA", "PE": "GGA", "R2SCAN": "r2SCAN", "PBESOL": "PBEsol", "PS": "PBEsol"}
_SCHEMES = (
    (re.compile(r"mixing adjustment|DFT ?mixing ?scheme", re.IGNORECASE), "mixing of GGA and r2SCAN"),
    (re.compile(r"aqueous", re.IGNORECASE), "aqueous"),
    (re.compile(r"^MP2020|MaterialsProject2020"), "MP2020"),
    (re.compile(r"^MIT"), "MIT"),
    (re.compile(r"^MP |MaterialsProjectCompatibility"), "legacy"),
)
"""What names and classes of energy adjustments say -> the scheme."""


class Entry(NamedTuple):
    """What a hull, and a look at where energies come from, need of an entry.

    Attributes:
        unit: Its formula unit.
        atoms: How many atoms its cell has.
        energy: Of the cell with its corrections, eV.
        correction: Of the cell, eV; NaN where the entry does not speak of corrections.
        functional: Such as GGA or r2SCAN; empty where nothing says it.
        hubbard: Whether it was calculated with a U.
        scheme: Of corrections, such as MP2020; empty where there are none, or nothing says whose they are.
        fault: Why its energy does not belong among those of static calculations; empty if it may.
        name: Its id.
    """

    unit: Unit
    atoms: float
    energy: float
    correction: float
    functional: str
    hubbard: bool
    scheme: str
    fault: str
    name: str


@dataclass(frozen=True)
class Source:
    """Where competing phases come from.

    Attributes:
        path: Of the file, or of several.
        digest: SHA-256 of the content.
        date: When it was written last, YYYY-MM-DD.
        count: Of entries.
        functional: Such as ``GGA, GGA+U``; empty where nothing says it.
        scheme: Of the corrections: MP2020, legacy, none; empty where nothing says it.
        notes: What is worth a warning.
    """

    path: str
    digest: str
    date: str
    count: int
    functional: str = ""
    scheme: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"{self.functional or 'functional not stated'}, corrections: {self.scheme or 'not stated'}"
        return f"{self.path} of {self.date}, {self.count:,} entries ({what}), sha256 {self.digest[:12]}"


@dataclass
class Entries:
    """Entries as columns.

    Attributes:
        source: Where they come from.
        units: The M compositions.
        unit: (N,) which of these each entry has.
        atoms: (N,) of the cells.
        energies: (N,) of the cells, with their corrections, eV.
        corrections: (N,) of the cells, eV; NaN where nothing is said of them.
        names: Of the entries.
        notes: What is worth a warning.
    """

    source: Source
    units: list[Unit]
    unit: Ints
    atoms: Floats
    energies: Floats
    corrections: Floats
    names: list[str]
    notes: list[str] = field(default_factory=list)


def read_entries(paths: Sequence[Path]) -> Entries:
    """Read entries and check that their energies belong together.

    Args:
        paths: Files, or folders of such files.

    Raises:
        UserError: A file cannot be read, there are no entries, or their energies are of different kinds.
    """
    where = ", ".join(map(str, paths))
    found: list[Entry] = []
    odd: list[str] = []
    digests: list[str] = []
    date = 0.0
    for path, alone in _files(paths):
        before = len(found) + len(odd)
        with _opened(path) as text:
            values = (entry for value in _values(text) for entry in _listed(value))
            for place, value in enumerate(values, start=1):
                try:
                    found.append(_entry(value, place))
                except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
                    odd.append(f"{path}, entry {place} ({_words(error)})")
        with open_regular(path) as content:
            digests.append(hashlib.file_digest(content, "sha256").hexdigest())
        date = max(date, path.stat().st_mtime)
        if len(found) + len(odd) == before:
            if alone:
                raise UserError(f"`competing_phases` {path}: holds no list of entries. {FORM}.")
            odd.append(f"{path} (holds no entries)")
    if not found:
        what = f"no entry can be read; the first is {odd[0]}" if odd else "holds no list of entries"
        raise UserError(f"`competing_phases` {where}: {what}. {FORM}.")
    notes = [f"{len(odd):,} left out as no entries, the first is {odd[0]}"] if odd else []
    notes += check_kinds(found, where)
    source = Source(
        where,
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
        datetime.fromtimestamp(date, UTC).date().isoformat(),
        len(found),
        _functionals(found),
        _scheme(found),
    )
    places: dict[Unit, int] = {}
    unit = np.array([places.setdefault(entry.unit, len(places)) for entry in found])
    atoms, energies, corrections = np.array([entry[1:4] for entry in found]).T
    return Entries(source, list(places), unit, atoms, energies, corrections, [entry.name for entry in found], notes)


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """List each file, and whether it was named itself.

    Raises:
        UserError: There is none.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _is_ours(file))
            if not inside:
                raise UserError(
                    f"`competing_phases` {path}: the folder has no file of entries ({', '.join(SUFFIXES)}, perhaps "
                    "with .gz, .xz or .bz2)."
                )
            yield from ((file, False) for file in inside)
        else:
            yield path, True


def _is_ours(file: Path) -> bool:
    name = file.name.lower().removesuffix(".gz").removesuffix(".xz").removesuffix(".bz2")
    return file.is_file() and not name.startswith((".", "._")) and name.endswith(SUFFIXES)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Read the text of a file, uncompressed.

    Raises:
        UserError: It cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"`competing_phases` {path}: is no regular file.")
        with io.TextIOWrapper(decompressed(path, by_content=True), encoding="utf-8-sig") as text:
            yield text
    except (OSError, EOFError, ValueError, RecursionError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"`competing_phases` {path}: cannot be read ({error}). {FORM}.") from None


_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def _values(file: TextIO) -> Iterator[Any]:
    """Parse the JSON values of a text: the elements of a list, or one value after the other (JSON Lines).

    Raises:
        ValueError: It is not JSON.
    """
    text = _Text(file)
    is_list = text.peek() == "["
    text.at += is_list
    while (start := text.peek()) and not (is_list and start == "]"):
        yield text.value()
        if is_list and text.peek() not in {",", "]"}:
            raise ValueError("the list breaks off, or a comma is missing")
        text.at += is_list and text.peek() == ","


@dataclass
class _Text:
    """A text of which a part is read, with a place in it."""

    file: TextIO
    part: str = ""
    at: int = 0
    ended: bool = False

    def peek(self) -> str:
        """Return the next character that is not blank, or nothing at the end."""
        while True:
            self.at = cast("re.Match[str]", _BLANK.match(self.part, self.at)).end()
            if self.at < len(self.part) or self.ended:
                return self.part[self.at : self.at + 1]
            self._fill()

    def value(self) -> Any:  # a value of JSON
        """Decode the value that comes next."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.part, self.at)
            except ValueError:
                if self.ended:
                    raise
            else:
                if end < len(self.part) or self.ended:  # else more of a number may follow
                    self.at = end
                    return value
            self._fill()

    def _fill(self) -> None:
        rest = len(self.part) - self.at
        if rest >= VALUE:
            raise ValueError(f"one value of more than {VALUE:,} characters")
        more = self.file.read(min(max(CHUNK, rest), VALUE - rest))
        self.part, self.at, self.ended = self.part[self.at :] + more, 0, not more


def _listed(value: Any) -> Iterator[Any]:  # a value of JSON
    """Find the entries that a value holds: itself, those of a list, of an object's `entries`, or of a PhaseDiagram."""
    if isinstance(value, list):
        yield from value
        return
    holders = [value, value.get("computed_data")] if isinstance(value, dict) else []
    lists = [
        holder[name]
        for holder in holders
        if isinstance(holder, dict)
        for name in ("entries", "all_entries", "data")
        if isinstance(holder.get(name), list)
    ]
    if lists:
        yield from lists[0]
    elif not isinstance(value, dict) or value.keys() & {"composition", "energy", "energy_per_atom", "@class"}:
        yield value


def _words(error: Exception) -> str:
    return f"has no {error}" if isinstance(error, KeyError) else str(error)


def _entry(value: Any, place: int) -> Entry:  # a value of JSON
    """Read an entry; raise ValueError and the like if it is none."""
    kind = str(value.get("@class", ""))
    if kind.startswith(("GrandPot", "Transformed", "Pourbaix", "Ion", "Slab", "Surface", "Defect", "Exp")):
        raise ValueError(f"a {kind} has no plain energy")
    atoms: dict[int, float] = {}
    given = value["composition"]
    if not isinstance(given, dict):
        raise TypeError(f"its composition is {given!r}")
    for symbol, amount in given.items():
        z = NUMBERS.get(symbol) or _number(str(symbol))
        atoms[z] = atoms.get(z, 0.0) + float(amount)
    total = sum(atoms.values())
    parts = value.get("energy_adjustments") or ()
    if "energy" in value:
        energy, correction = _energy(value, parts)
    else:
        energy = float(value["energy_per_atom"]) * total
        correction = energy - float(value.get("uncorrected_energy_per_atom") or math.nan) * total
    if not math.isfinite(energy) or not 0 < total < math.inf or min(atoms.values()) < 0:
        raise ValueError("its energy or its amounts are no such numbers")
    run, hubbard = _run_type(value)
    name = str(value.get("entry_id") or value.get("material_id") or f"entry {place}")
    entry = Entry(unit_of(atoms), total, energy, correction, run, hubbard, _scheme_of(parts), "", name)
    fault = _other_kind(value, parts, entry) or _fault_of_corrections(value, parts, entry)
    return entry._replace(fault=fault) if fault else entry


def _energy(value: dict[str, Any], parts: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Energy with corrections, and these, eV; as pymatgen reads them: adjustments count, where there are any."""
    if parts:
        correction = sum(map(_adjustment, parts))
    elif "correction" in value:
        correction = float(value["correction"] or 0)
    else:
        correction = math.nan
    return float(value["energy"]) + (0.0 if math.isnan(correction) else correction), correction


def _adjustment(part: dict[str, Any]) -> float:
    """Read an energy adjustment, eV."""
    if "value" in part:
        return float(part["value"])
    if "adj_per_deg" in part:
        return float(part["adj_per_deg"]) * float(part["temp"]) * float(part["n_atoms"])
    return float(part["adj_per_atom"]) * float(part["n_atoms"])


_SPECIES = re.compile(r"([A-Z][a-z]?)(?:\d+(?:\.\d+)?)?[+-]?(?:,.*)?")


@lru_cache(maxsize=4096)
def _number(symbol: str) -> int:
    """Read the atomic number of an element or species: ``Fe``, ``Fe3+``, ``Fe3+,spin=5``."""
    found = _SPECIES.fullmatch(symbol)
    z = NUMBERS.get(found[1] if found else symbol)
    if z is None:
        raise ValueError(f"{symbol!r} is no element")
    return z


def unit_of(atoms: Mapping[int, float]) -> Unit:
    """Reduce atoms to the smallest formula unit, if their numbers are whole; polymorphs have the same."""
    pairs = sorted((z, amount) for z, amount in atoms.items() if amount)
    near = [round(amount) for _, amount in pairs]
    if any(abs(amount - whole) > NEAR for (_, amount), whole in zip(pairs, near, strict=True)):
        return tuple(pairs)
    factor = math.gcd(*near) or 1
    return tuple([(z, whole / factor) for (z, _), whole in zip(pairs, near, strict=True)])


_ENDS = re.compile(r"(?:^|[-_ ])(GGA(?:\+U)?|PBE(?:\+U)?|r2SCAN|SCAN|PBEsol|LDA|HSE06)$", re.IGNORECASE)


def _run_type(value: dict[str, Any]) -> tuple[str, bool]:
    """Read the functional that an entry names, without its U, and whether it was calculated with one."""
    parameters, data = (value.get(name) or {} for name in ("parameters", "data"))
    said = value.get("thermo_type") or parameters.get("run_type") or value.get("run_type") or data.get("run_type")
    said = said or value.get("energy_type")
    if not said and (end := _ENDS.search(str(value.get("entry_id") or ""))):
        said = end[1]
    family, hubbard = _family(str(said or ""))
    hubbards = parameters.get("hubbards")
    hubbard |= bool(parameters.get("is_hubbard")) or (isinstance(hubbards, dict) and any(hubbards.values()))
    return family, hubbard


@cache
def _family(said: str) -> tuple[str, bool]:
    """Return a functional by its usual name, and whether there is a U."""
    parts = {part.removesuffix("+U").removesuffix("(+U)") for part in re.split(r"[_/ ]+", said.strip().upper()) if part}
    names = sorted({_FAMILIES.get(part, part) for part in parts})
    return " with ".join(names), "+U" in said.upper() and "_" not in said


def _scheme_of(parts: Sequence[dict[str, Any]]) -> str:
    """Tell whose corrections energy adjustments are."""
    if not parts:
        return ""
    schemes = set()
    for part in parts:
        own = part.get("cls")
        maker = own.get("@class") if isinstance(own, dict) else part.get("generated_by")
        schemes.add(_named_scheme(part.get("name"), maker))
    schemes.discard("")
    return " and ".join(sorted(schemes)) if len(schemes) > 1 else next(iter(schemes), "")


@cache
def _named_scheme(name: str | None, kind: str | None) -> str:
    return next((scheme for said, scheme in _SCHEMES if said.search(name or "") or said.search(kind or "")), "")


def _other_kind(value: dict[str, Any], parts: Sequence[dict[str, Any]], entry: Entry) -> str:
    """Name a kind of energy that does not belong among those of static calculations; empty if an entry's may."""
    if str(value.get("@class", "")).startswith("Gibbs") or any("adj_per_deg" in part for part in parts):
        temperature = value.get("temp") or next((part.get("temp") for part in parts if "temp" in part), None)
        return f"Gibbs energies{'' if temperature is None else f' at {temperature:g} K'}"
    if "mixing" in entry.scheme or "with" in entry.functional:
        return "energies of the mixed hull of GGA and r2SCAN"
    return "energies with aqueous corrections" if "aqueous" in entry.scheme else ""


def _fault_of_corrections(value: dict[str, Any], parts: Sequence[dict[str, Any]], entry: Entry) -> str:
    """Say what is wrong with the corrections of an entry; empty if nothing is."""
    if len(parts) > 1:
        names = Counter((part.get("name"), round(_adjustment(part), 6)) for part in parts if part.get("name"))
        named = [name for (name, number), count in names.items() if count > 1 and number and "anual" not in str(name)]
        if named:
            return f"corrections that are applied twice ({named[0]})"
    if parts:
        told = value.get("correction")
        if told is not None and abs(float(told) - entry.correction) > 1e-3 * entry.atoms:
            return f"two corrections that differ ({float(told):.3f} eV, and adjustments of {entry.correction:.3f} eV)"
    if entry.functional not in {"", "GGA"} or not entry.correction < -0.05 * entry.atoms:
        return ""
    least = sum([LEAST[z] * amount for z, amount in entry.unit if z in LEAST])
    least *= entry.atoms / sum([amount for _, amount in entry.unit])
    if least < 0 and entry.correction < 1.4 * least - 0.05 * entry.atoms:
        return f"corrections that are too large, as if they were applied twice ({entry.correction:.3f} eV)"
    return ""


def check_kinds(entries: Sequence[Entry], where: str) -> list[str]:
    """Refuse energies of different kinds, by what entries say of themselves; return what is worth a warning.

    Raises:
        UserError: Naming the kinds, how many of each, and one of them.
    """
    refuse = _refusal(where)
    faults = Counter(entry.fault.partition(" (")[0] for entry in entries if entry.fault)
    if faults:
        kind, count = faults.most_common(1)[0]
        first = next(entry for entry in entries if entry.fault.startswith(kind))
        remedy = GET_ONE_SCALE if "mixed hull" in kind else "Give the entries without"
        if kind.startswith("Gibbs"):
            remedy = "Models and calculators give energies at 0 K: give the entries that these were made from"
        if "correction" in kind and "aqueous" not in kind:
            remedy = (
                "Apply corrections once, as MaterialsProject2020Compatibility().process_entries does with clean=True"
            )
        raise refuse(f"{count:,} of {len(entries):,} entries have {first.fault}, the first is {first.name}", remedy)
    functionals = Counter(entry.functional for entry in entries if entry.functional)
    if len(functionals) > 1:
        raise refuse(f"energies of different functionals do not mix: {_counted(functionals)}", GET_ONE_SCALE)
    schemes = Counter(entry.scheme for entry in entries if entry.scheme)
    if len(schemes) > 1:
        raise refuse(
            f"corrections of different kinds do not mix: {_counted(schemes)}",
            "Apply MaterialsProject2020Compatibility to all",
        )
    hubbard = sum(entry.hubbard for entry in entries)
    if hubbard and sum(len(entry.unit) > 1 for entry in entries) > hubbard and not any(e.correction for e in entries):
        raise refuse(
            f"{hubbard:,} entries are of GGA+U, others are not, and none is corrected for that",
            "Apply MaterialsProject2020Compatibility to all",
        )
    return _check_corrected(entries, refuse)


def _check_corrected(entries: Sequence[Entry], refuse: Callable[[str, str], UserError]) -> list[str]:
    """Refuse corrected beside uncorrected compounds of one anion; a few of many are worth a warning."""
    notes = []
    by_anion: dict[str, tuple[list[Entry], list[Entry]]] = {SYMBOLS[z]: ([], []) for z in HALIDES}
    for entry in entries:
        if not math.isnan(entry.correction) and entry.functional in {"", "GGA"} and (anion := _anion(entry.unit)):
            by_anion[anion][abs(entry.correction) > 1e-3 * entry.atoms].append(entry)
    for anion, (without, having) in by_anion.items():
        few = min(without, having, key=len)
        if not few:
            continue
        what = f"{len(having):,} compounds with {anion} have a corrected energy, {len(without):,} have none"
        first = f"such as {few[0].name} ({_formula(few[0].unit)})"
        if len(few) >= SOME * (len(without) + len(having)):
            raise refuse(f"{what}, {first}", "Apply MaterialsProject2020Compatibility to all entries, or to none")
        notes.append(f"{what}, {first}: these energies do not compare")
    return notes


def _anion(unit: Unit) -> str:
    """Find the anion for which a compound's energy must be corrected; empty where that is not plain."""
    atoms = dict(unit)
    anion = next((z for z in HALIDES if z in atoms), 0)
    if not anion or len(atoms) == 1:
        return ""
    if anion == OXYGEN:  # an ozonide has a correction of 0, and in an oxyfluoride it is not plain
        return "" if FLUORINE in atoms or atoms[OXYGEN] > 0.74 * sum(atoms.values()) else "O"
    return "" if METALS & atoms.keys() else SYMBOLS[anion]


def _functionals(entries: Sequence[Entry]) -> str:
    names = Counter(
        f"{entry.functional}+U" if entry.hubbard else entry.functional for entry in entries if entry.functional
    )
    unsaid = sum(not entry.functional for entry in entries)
    return _counted(names) + (f", {unsaid:,} not stated" if names and unsaid else "")


def _scheme(entries: Sequence[Entry]) -> str:
    """Tell whose corrections the entries have: by name, else by those of oxides, else whether there are any."""
    named = next((entry.scheme for entry in entries if entry.scheme), "")
    stated = [entry for entry in entries if not math.isnan(entry.correction)]
    if named or not stated:
        return named
    if not any(entry.correction for entry in stated):
        return "none"
    shares = [
        entry.correction / (atoms[8] * entry.atoms / sum(atoms.values()))
        for entry in stated
        if entry.correction and 8 in (atoms := dict(entry.unit)) and not (METALS | {9}) & atoms.keys()
    ]
    oxide = float(np.median(shares)) if shares else math.nan
    scales = {"MP2020": -0.687, "legacy": -0.70229}
    return next((name for name, value in scales.items() if abs(oxide - value) < 2e-3), "some")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _refusal(where: str) -> Callable[[str, str], UserError]:
    return lambda what, remedy: UserError(f"`competing_phases` {where}: {what}. {remedy}.")


def _formula(unit: Unit) -> str:
    return "".join(f"{SYMBOLS[z]}{'' if amount == 1 else f'{amount:g}'}" for z, amount in unit)


def check_energies(
    entries: Entries, formation: Floats, references: Floats, *, compare: bool = True
) -> tuple[NDArray[np.bool_], list[str]]:
    """Refuse energies that no compound can have; return which entries to keep, and what is worth a warning.

    Args:
        entries: Their energies are taken as those of cells.
        formation: (N,) eV/atom, relative to the elements among the entries; NaN where one is missing.
        references: (101,) eV/atom of the elements.
        compare: Also with formation energies that are known, as those of a calculation by DFT can be.

    Raises:
        UserError: Energies are given per atom, or many are impossible.
    """
    refuse = _refusal(entries.source.path)
    compound = np.array([len(unit) > 1 for unit in entries.units])[entries.unit] & np.isfinite(formation)
    known = (_known(entries.units) if compare else np.full(len(entries.units), math.nan))[entries.unit]
    _check_sizes(entries, refuse)
    if compound.any():
        _check_totals(entries, formation, compound, known, refuse)
    notes = _element_notes(entries, references)
    lowest = _lowest(entries)
    bad = compound & ((formation < LOWEST) | (formation < known - GROSS))
    bad |= compound & lowest & ((formation > HIGHEST) | (formation > known + GROSS))
    count, some = int(bad.sum()), compound.sum()
    if not count:
        return ~bad, notes
    first = int(np.flatnonzero(bad)[0])
    said = f"{formation[first]:+.2f} eV/atom" + (
        f" where {known[first]:+.2f} is known" if np.isfinite(known[first]) else ""
    )
    what = (
        f"{count:,} of {some:,} compounds have impossible formation energies, relative to the elements in the file: "
        f"the first is {entries.names[first]} ({_formula(entries.units[entries.unit[first]])}) with {said}"
    )
    if count >= max(1, SOME * some):
        shared = _shared(entries, bad, compound & ~bad & np.isfinite(known))
        remedy = "Elements and compounds must be of one kind of calculation"
        raise refuse(what, f"{remedy}; look at those of {', '.join(shared)}" if shared else remedy)
    return ~bad, [*notes, f"{what}; they are left out"]


def _lowest(entries: Entries) -> NDArray[np.bool_]:
    """Mark the lowest entry of each composition, (N,)."""
    each = entries.energies / entries.atoms
    best = np.full(len(entries.units), np.inf)
    np.minimum.at(best, entries.unit, each)
    return np.asarray(each <= best[entries.unit])


def _shared(entries: Entries, bad: NDArray[np.bool_], good: NDArray[np.bool_]) -> list[str]:
    """Find elements that all bad compounds have, and none that is known to be good."""
    sets = {kind: [{z for z, _ in entries.units[u]} for u in set(entries.unit[rows].tolist())] for kind, rows in (
        ("bad", bad), ("good", good))}  # fmt: skip
    return sorted(SYMBOLS[z] for z in set.intersection(*sets["bad"]).difference(*sets["good"]))


def _check_sizes(entries: Entries, refuse: Callable[[str, str], UserError]) -> None:
    """Refuse cells of different sizes but the same composition that have one and the same energy."""
    each, seen = entries.energies / entries.atoms, dict[int, int]()
    alike = []
    several = np.bincount(entries.unit)[entries.unit] > 1
    for i in np.flatnonzero(several).tolist():
        j = seen.setdefault(int(entries.unit[i]), i)
        if entries.atoms[i] != entries.atoms[j] and abs(each[i] - each[j]) > 1:
            alike += [i] if abs(entries.energies[i] - entries.energies[j]) < 0.2 else []
    if alike and len(alike) >= SOME * np.count_nonzero(several):
        name = _formula(entries.units[entries.unit[alike[0]]])
        raise refuse(
            f"entries of {name} with cells of different sizes have the same energy, as energies per atom have",
            "Give the energies of cells (energy_per_atom says the others)",
        )


def _check_totals(
    entries: Entries,
    formation: Floats,
    compound: NDArray[np.bool_],
    known: Floats,
    refuse: Callable[[str, str], UserError],
) -> None:
    """Refuse energies that make sense only as energies per atom."""
    as_given = entries.energies - (entries.energies / entries.atoms - formation)  # with the elements as they are
    lowest: dict[int, float] = {}
    for z, i in _elements(entries):
        lowest[z] = min(lowest.get(z, math.inf), float(entries.energies[i]))
    both = as_given.copy()  # with theirs, too, per atom
    for i in np.flatnonzero(compound).tolist():
        unit = entries.units[entries.unit[i]]
        both[i] = entries.energies[i] - sum(lowest[z] * n for z, n in unit) / sum(n for _, n in unit)
    beside = np.isfinite(known)
    far = compound & np.where(beside, np.abs(formation - known) > 0.5, (formation > 1) | (formation < LOWEST))
    fits = np.zeros(len(far), dtype=bool)
    corrections = np.nan_to_num(entries.corrections)
    once = corrections / entries.atoms - corrections  # the correction may be that of a cell all the same
    for other in (as_given, both, as_given + once, both + once):
        fits |= np.where(beside, np.abs(other - known) < 0.3, (other > LOWEST) & (other < 0.75))
    looks = far & fits & (entries.atoms > 1)
    if looks.any() and looks.sum() >= SOME * compound.sum():
        i = int(np.flatnonzero(looks)[0])
        name = f"{entries.names[i]} ({_formula(entries.units[entries.unit[i]])})"
        raise refuse(
            f"{looks.sum():,} of {compound.sum():,} compounds seem to have energies per atom, the first is {name}: "
            f"{entries.energies[i]:.3f} eV for {entries.atoms[i]:g} atoms",
            "Give the energies of cells, as ComputedEntry has them",
        )


def _elements(entries: Entries) -> Iterator[tuple[int, int]]:
    """Return atomic number and row of each entry of an element alone."""
    single = np.array([unit[0][0] if len(unit) == 1 else 0 for unit in entries.units])[entries.unit]
    rows = np.flatnonzero(single)
    return zip(single[rows].tolist(), rows.tolist(), strict=True)


def _element_notes(entries: Entries, references: Floats) -> list[str]:
    """Note what is odd about the energies of the elements."""
    positive = [SYMBOLS[z] for z in np.flatnonzero(references > 0.05)]
    notes = []
    if positive:
        notes.append(f"the energy of {', '.join(positive)} alone is positive, which no solid has")
    by_element: dict[int, list[float]] = {}
    for z, i in _elements(entries):
        by_element.setdefault(z, []).append(float(entries.energies[i] / entries.atoms[i]))
    for z, energies in by_element.items():
        lowest, *others = sorted(energies)
        if others and others[0] - lowest > APART:
            notes.append(
                f"the lowest entry of {SYMBOLS[z]} alone ({lowest:.2f} eV/atom) is {others[0] - lowest:.1f} below the "
                "next: are they of one kind of calculation?"
            )
    return notes


def _known(units: Sequence[Unit]) -> Floats:
    """Look up known formation energies, (M,) eV/atom; NaN for others."""
    table = formation_energies()
    return np.array([table.get(unit, (math.nan, False))[0] for unit in units])
