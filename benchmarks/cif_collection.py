"""How many CIFs of a folder are read, and as what pymatgen, ASE and gemmi read; nothing is fetched.

    python benchmarks/cif_collection.py FOLDER… [--list]

A file is one crystal: with several data blocks it is left out. It counts as ordered if a reader finds all sites fully
occupied. Readers agree if they find the same atoms in the cell. Prints how many crystals all three, or two of them,
agree on, how many of these are read here and as the same; and why others are refused. With `--list` each file that is
refused or read otherwise than two agree on.
"""

from __future__ import annotations

import argparse
import io
import re
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import gemmi

from cgcnn.data.cif import crystals
from cgcnn.data.crystal import structure
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Content = frozenset[tuple[str, int]]
"""Atoms in the cell, by element; deuterium is hydrogen."""


def by_us(text: str) -> Content:
    """Atoms as this project reads them."""
    crystal = structure("cif", text)
    if not crystal.is_ordered:
        raise ValueError("partial occupancy")
    return _counted(site.specie.symbol for site in crystal)


def by_pymatgen(text: str) -> Content:
    """Atoms as pymatgen reads them."""
    from pymatgen.core.structure import Structure

    crystal = Structure.from_str(text, fmt="cif")
    if not crystal.is_ordered:
        raise ValueError("partial occupancy")
    return _counted(site.specie.symbol for site in crystal)


def by_ase(text: str) -> Content:
    """Atoms as ASE reads them."""
    from ase.io.cif import parse_cif

    block = next(block for block in parse_cif(io.StringIO(text)) if block.has_structure())
    occupancies = block.get("_atom_site_occupancy") or [1]
    if any(isinstance(share, float) and share < 0.999 for share in occupancies):
        raise ValueError("partial occupancy")
    return _counted(block.get_atoms().symbols)


def by_gemmi(text: str) -> Content:
    """Atoms as gemmi reads them."""
    document = gemmi.cif.read_string(text, 0)
    block = next(block for block in document if len(block.find_values("_atom_site_fract_x")))
    small = gemmi.make_small_structure_from_block(block)
    if any(site.occ < 0.999 for site in small.sites):
        raise ValueError("partial occupancy")
    return _counted(site.element.name for site in small.get_all_unit_cell_sites())


READERS: dict[str, Callable[[str], Content]] = {"pymatgen": by_pymatgen, "ase": by_ase, "gemmi": by_gemmi}


def _counted(symbols: Iterator[str]) -> Content:
    counts = Counter({"D": "H", "T": "H"}.get(symbol, symbol) for symbol in symbols)
    if not counts:
        raise ValueError("no atoms")
    return frozenset(counts.items())


def read(reader: Callable[[str], Content], text: str) -> Content | str:
    """What a reader finds, or its reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(text)
    except UserError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # readers document no set of errors
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Read all, count, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folders", nargs="+", type=Path)
    arguments.add_argument("--list", action="store_true")
    chosen = arguments.parse_args()
    files = sorted(path for folder in chosen.folders for path in folder.rglob("*") if path.suffix.lower() == ".cif")
    counts, reasons, seconds = Counter[str](), Counter[str](), 0.0
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        if len(crystals(text)) != 1 or "_atom_site" not in text.lower():
            counts["left out"] += 1
            continue
        start = time.process_time()
        ours = read(by_us, text)
        seconds += time.process_time() - start
        theirs = [found for reader in READERS.values() if not isinstance(found := read(reader, text), str)]
        agreed = Counter(theirs).most_common(1)[0] if theirs else (None, 0)
        kind = {3: "three", 2: "two"}.get(agreed[1], "")
        counts["read"] += not isinstance(ours, str)
        if isinstance(ours, str):
            reasons[re.sub(r"[0-9][0-9.,]*|'[^']*'|\(.*?\)", "…", ours)[:90]] += 1
        if kind:
            counts[kind] += 1
            counts[f"{kind}, read"] += ours == agreed[0]
            counts[f"{kind}, refused"] += isinstance(ours, str)
            if chosen.list and ours != agreed[0]:
                here = ours if isinstance(ours, str) else sorted(ours)
                print(f"{path}: {kind} agree on {sorted(agreed[0])}; here: {here}")
        elif chosen.list and not isinstance(ours, str):
            print(f"{path}: no two agree; here: {sorted(ours)}")
    one = len(files) - counts["left out"]
    each = 1e3 * seconds / max(one, 1)
    print(f"{len(files):,} files, {one:,} of one crystal; read {counts['read']:,}, {each:.1f} ms each")
    for kind in ("three", "two"):
        same, refused = counts[f"{kind}, read"], counts[f"{kind}, refused"]
        print(f"{kind} of pymatgen, ASE, gemmi agree on {counts[kind]:,}:", end=" ")
        print(f"read as these {same:,}, refused {refused:,}, otherwise {counts[kind] - same - refused:,}")
    for reason, count in reasons.most_common(25):
        print(f"  {count:5,}  {reason}")


if __name__ == "__main__":
    main()
