"""A run of a few candidates, and calculators of ASE that need no library."""

import pytest

import screening

TOY = '''
"""Calculators whose energy depends on the volume; 20 atoms in a cell (Pnma) are a little lower."""
import os
from pathlib import Path
import numpy as np
from ase.calculators.calculator import Calculator

class Toy(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        n = len(atoms)
        x = atoms.get_volume() / n / 12 - 1
        self.results = {
            "energy": n * (x * x - 0.01 * (n == 20) - 1),
            "forces": np.zeros((n, 3)),
            "stress": np.array([1, 1, 1, 0, 0, 0]) * 2 * x / 12,
        }

class Fussy(Toy):
    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == 20:
            raise ValueError("no parameters\\nfor this")
        if "Zr" in atoms.symbols:
            self.results["energy"] = float("nan")
        if "Hf" in atoms.symbols:
            self.results["stress"] = np.array([1, 1, 1, 0, 0, 0]) * -0.05

class Stopped(Toy):
    """Ends its process, or raises as Ctrl-C does, at each 30th call until there is a file `goes on`."""
    calls = 0

    def calculate(self, atoms=None, properties=(), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == 30 and not Path("goes on").exists():
            Path("goes on").touch()
            if os.environ.get("DIES"):
                os._exit(1)
            raise KeyboardInterrupt

def toy(): return Toy()
def fussy(): return Fussy()
def stopped(): return Stopped()
nothing = 3
'''


@pytest.fixture(scope="module")
def run_url(tmp_path_factory, model_path):
    """Six candidates, of a model with random weights."""
    url = tmp_path_factory.mktemp("run") / "R.zarr"
    sites = {"a": ["Ca", "Sr"], "b": ["Ti", "Zr", "Hf"], "x": ["O"]}
    screening.screen("perovskites", **sites, out=url, model=str(model_path), filters=[])
    return url


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A working directory with the module `toys`."""
    name = f"toys_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    return name
