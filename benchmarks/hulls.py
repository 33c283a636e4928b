"""How long it takes, and how much memory, to read competing phases and to put candidates above their hull.

    python benchmarks/hulls.py [--entries 150000] [--structures]

makes a file of entries such as `monty.dumpfn` writes of what the Materials Project returns (elements, and compounds of
two to five elements with polymorphs; with --structures also their crystals), reads it in a process of its own, and puts
512 ABX3, each of a chemical system of its own, above its hull. Nothing is fetched. It prints processor seconds and the
peak of resident memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import SYMBOLS
from screening.chemistry.competing import count_atoms, read_phases

if TYPE_CHECKING:
    from collections.abc import Iterator

ANIONS = ("O", "F", "Cl", "S")
CATIONS = [symbol for symbol in SYMBOLS[3:84] if symbol not in {*ANIONS, "Ne", "Ar", "Kr", "Xe"}]
CORRECTIONS = {"O": -0.687, "F": -0.462, "Cl": -0.614, "S": -0.503}


def make_entries(count: int, *, structures: bool, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Entries as JSON values: an element each, then compounds whose formation energies are -1 to -3 eV/atom."""
    random = np.random.default_rng(seed)
    zero = {symbol: -float(random.uniform(1, 9)) for symbol in (*CATIONS, *ANIONS)}
    for symbol, energy in zero.items():
        yield entry({symbol: 2}, 2 * energy, f"mp-{symbol}", structures=structures)
    for number in range(count - len(zero)):
        anion = ANIONS[number % len(ANIONS)]
        cations = random.choice(CATIONS, size=int(random.integers(1, 5)), replace=False).tolist()
        composition = {symbol: int(random.integers(1, 5)) for symbol in cations} | {anion: int(random.integers(1, 9))}
        cells = int(random.integers(1, 5))
        composition = {symbol: cells * amount for symbol, amount in composition.items()}
        atoms = sum(composition.values())
        energy = sum(zero[symbol] * amount for symbol, amount in composition.items())
        yield entry(composition, energy - atoms * float(random.uniform(1, 3)), f"mp-{number}", structures=structures)


def entry(composition: dict[str, int], energy: float, name: str, *, structures: bool) -> dict[str, Any]:
    """An entry with this energy after its corrections, eV."""
    anions = [symbol for symbol in composition if symbol in ANIONS and len(composition) > 1]
    parts = [
        {
            "@module": "pymatgen.entries.computed_entries", "@class": "CompositionEnergyAdjustment", "@version": None,
            "adj_per_atom": CORRECTIONS[symbol], "n_atoms": composition[symbol], "uncertainty_per_atom": 0.002,
            "name": f"MP2020 anion correction ({'oxide' if symbol == 'O' else symbol})",
            "cls": {"@module": "pymatgen.entries.compatibility", "@class": "MaterialsProject2020Compatibility"},
            "description": "Composition-based energy adjustment",
        }
        for symbol in anions
    ]  # fmt: skip
    correction = sum(part["adj_per_atom"] * part["n_atoms"] for part in parts)
    made: dict[str, Any] = {
        "@module": "pymatgen.entries.computed_entries", "@class": "ComputedEntry", "composition": composition,
        "energy": energy - correction, "correction": correction, "energy_adjustments": parts, "entry_id": f"{name}-GGA",
        "parameters": {
            "potcar_spec": [{"titel": f"PAW_PBE {symbol}", "hash": "0" * 32} for symbol in composition],
            "is_hubbard": False, "hubbards": {}, "run_type": "GGA",
        },
        "data": {"oxide_type": "oxide", "aspherical": True, "last_updated": "2020-05-03", "material_id": name},
    }  # fmt: skip
    if structures:
        sites = [symbol for symbol, amount in composition.items() for _ in range(amount)]
        made |= {
            "@class": "ComputedStructureEntry",
            "structure": {
                "@class": "Structure", "lattice": {"matrix": [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]]},
                "sites": [
                    {"species": [{"element": symbol, "occu": 1}], "abc": [0.1234567, 0.2345678, i / 100]}
                    for i, symbol in enumerate(sites)
                ],
            },
        }  # fmt: skip
    return made


def measure(path: str) -> None:
    """Read a file and put candidates above its hull; print what it took."""
    started = time.process_time()
    phases = read_phases(path)
    read = time.process_time() - started
    candidates = [(a, b, x) for a, b, x in product(CATIONS[:16], CATIONS[16:32], ("O", "S"))]
    started = time.process_time()
    for a, b, x in candidates:
        phases.distance(count_atoms([SYMBOLS.index(symbol) for symbol in (a, b, x, x, x)]), -3.0)
    each = (time.process_time() - started) / len(candidates)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"processor seconds: {read:.1f} to read, {each:.4f} a candidate; {peak:.2f} GB at most: {phases.source}")


def main() -> None:
    """Make the file and read it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=150_000)
    parser.add_argument("--structures", action="store_true")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        measure(given.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entries.json"
        with path.open("w", encoding="utf-8") as file:
            for number, made in enumerate(make_entries(given.entries, structures=given.structures)):
                file.write(("[" if number == 0 else ",\n") + json.dumps(made))
            file.write("]")
        print(f"{given.entries:,} entries, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        subprocess.run([sys.executable, __file__, "--read", str(path)], check=True)


if __name__ == "__main__":
    main()
