"""Predictions a second of each kernel on one core, for candidates of prototypes, beside the reference network in torch.

python benchmarks/kernels.py [--candidates 9600] [--repeats 5]

Kernels take turns, and the best of the repeats counts, in seconds of the processor: other work on the machine disturbs
these least.
"""

import argparse
import os
import platform
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before numpy

import numpy as np
import torch

from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.files import load
from cgcnn.models.model import Model
from cgcnn.network.kernel import Kernel, fold
from cgcnn.network.numpy_kernel import NumpyKernel
from cgcnn.network.template_kernel import TemplateKernel, instruction_sets
from cgcnn.network.torch_kernel import TorchKernel

CASES = (
    ("castelli", "cubic-perovskite", 1),
    ("castelli", "cubic-perovskite", 2),
    ("castelli", "cubic-perovskite", 3),
    ("mp", "cubic-perovskite", 1),
    ("mp", "double-perovskite", 1),
)  # model, prototype, different elements on X


def candidates(model: Model, prototype: str, anions: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Canonical species (count, n_sites) of elements that the model knows, drawn at random, and lattice constants."""
    known, kind = model.domain.trained, PROTOTYPES[prototype]
    rng = np.random.default_rng(0)
    columns = [rng.choice(np.flatnonzero(known[role]), count) for role in kind.role_index]
    species = np.stack(columns, axis=1).astype(np.uint8)
    of_x = np.flatnonzero(kind.on_x)
    species[:, of_x[anions:]] = species[:, of_x[anions - 1 : anions]]
    species = kind.canonical(species)
    return species, model.domain.reference_lattice(kind, species)


def kernels(model: Model) -> dict[str, Kernel]:
    """Every kernel that there is here."""
    folded = fold(model.settings, model.members)
    found: dict[str, Kernel] = {"torch": TorchKernel(model.settings, model.members)}
    found["numpy"] = NumpyKernel(folded)
    return found | {f"template, {name}": TemplateKernel(folded, name) for name in instruction_sets()}


def seconds(kernel: Kernel, cells: tuple[Prototype, np.ndarray, np.ndarray]) -> float:
    """Of the processor, to predict candidates."""
    begun = time.process_time()
    kernel.predict_cells(*cells)
    return time.process_time() - begun


def processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=9600)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; Python", end=" ")
    print(f"{platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}; one thread;")
    print(f"{options.candidates:,} candidates at once, best of {options.repeats} turns, seconds of the processor")
    for name, prototype, anions in CASES:
        model = load(name)
        species, a = candidates(model, prototype, anions, options.candidates)
        ready = kernels(model)
        cells = PROTOTYPES[prototype], species, a
        turns = [{k: seconds(kernel, cells) for k, kernel in ready.items()} for _ in range(options.repeats)]
        best = {kernel: min(turn[kernel] for turn in turns) for kernel in ready}
        outputs = {kernel: ready[kernel].predict_cells(*cells).mean(axis=0)[:, 0] for kernel in ready}
        reference = next(iter(ready))
        print(f"\n{name} x{len(model.members)}, {prototype}, {anions} kind(s) of X")
        for kernel in ready:
            error = np.abs(outputs[kernel] - outputs[reference]).max()
            rate, ratio = options.candidates / best[kernel], best[reference] / best[kernel]
            print(f"{kernel:<20} {rate:9,.0f}/s  x {ratio:5.2f}  off by {error:.1e} {model.card.targets[0].unit}")


if __name__ == "__main__":
    main()
