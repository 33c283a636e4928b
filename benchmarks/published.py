r"""Against the published code (txie-93/cgcnn), on the same machine, in one run.

published.py CHECKOUT CHECKPOINT ATOM_INIT DATA, for example

python benchmarks/published.py ~/cgcnn formation-energy-per-atom.pth.tar atom_init.json mp.jsonl.xz

CHECKOUT is a clone of the published code. Its predict.py and main.py run as they are, in an interpreter that has what
they need (--python: torch, pymatgen, scikit-learn). CIFs are written from crystals of DATA.

1. Whole commands, from the shell to the results: predict.py, and `cgcnn predict` with the imported checkpoint; cold,
   with an empty cache of graphs, and warm. The predictions are compared.
2. Training at equal settings: width 64, three convolutions, batches of 256, the same crystals and the published
   graphs. Seconds of an epoch when graphs are in memory: by the time that sixteen more epochs take, with validation
   and checkpoints in both.

All take turns; what is shown is the least of the repeats, for other work on the machine only ever adds. On a busy
machine trust the seconds of processors, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cgcnn.data.crystal import structure
from cgcnn.data.samples import from_record, read_records

ROOT = Path(__file__).parent.parent
MORE = 16  # epochs: enough for the jitter of a start not to show in their mean
TRAINED = 0.8  # share of the crystals; a tenth each for validation and test
RECIPE = """
name = "equal"
summary = "The settings of the published code."
input = "structure"
label = "as in the data"
data = "as in the data"
retrain = "benchmarks/published.py"
[[targets]]
name = "target"
unit = "eV/atom"
[network]
width = 64
layers = 3
hidden = 128
gaussians = 41
graphs = "original"
[fit]
batch_size = 256
members = 1
"""


@dataclass(frozen=True)
class Spent:
    """Seconds of a command: on the clock, and of processors."""

    clock: float
    processor: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkout", "checkpoint", "atom_init", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--label", default="formation_energy", help="what to train on")
    parser.add_argument("--python", default=sys.executable, help="interpreter for the published code")
    parser.add_argument("--crystals", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=("predict", "train"), help="only this part")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} before, Python", end=" ")
    print(f"{platform.python_version()}, torch {torch.__version__} with {torch.get_num_threads()} threads")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_directory(folder / "data", options)
        if options.part != "train":
            compare_predictions(folder, options)
        if options.part != "predict":
            compare_trainings(folder, options)


def write_directory(folder: Path, options: argparse.Namespace) -> None:
    """A data directory as the published code reads it."""
    folder.mkdir()
    shutil.copy(options.atom_init, folder / "atom_init.json")
    records = [record for record in read_records(options.data) if record.get(options.label) is not None]
    chosen = random.Random(0).sample(records, options.crystals)  # noqa: S311  # no secret
    with (folder / "id_prop.csv").open("w", newline="") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, record in enumerate(chosen):
            entry = from_record(record, i)
            structure(entry.form, entry.content).to(str(folder / f"{entry.id}.cif"), fmt="cif")
            csv.writer(file).writerow([entry.id, record[options.label]])


def compare_predictions(folder: Path, options: argparse.Namespace) -> None:
    """The first part."""
    theirs = [options.python, "-W", "ignore", options.checkout.resolve() / "predict.py"]
    theirs += [options.checkpoint.resolve(), "data"]
    ours = [sys.executable, "-m", "cgcnn"]
    spend(folder, [*ours, "import", options.checkpoint.resolve(), "--atom-init", "data/atom_init.json", "-o", "model"])
    predict = [*ours, "predict", "data", "--model", "model", "--csv", "ours.csv"]
    spent: dict[str, list[Spent]] = {"predict.py": [], "cgcnn predict, cold": [], "cgcnn predict, warm": []}
    for _ in range(options.repeats):
        spent["predict.py"].append(spend(folder, theirs, ours=False))
        shutil.rmtree(folder / "cache", ignore_errors=True)
        spent["cgcnn predict, cold"].append(spend(folder, predict))
        spent["cgcnn predict, warm"].append(spend(folder, predict))
    print(f"\nWhole commands, {options.crystals} CIFs, least of {options.repeats}")
    show({name: least(runs) for name, runs in spent.items()}, options.crystals)
    first, second = (dict(rows(folder / name)) for name in ("test_results.csv", "ours.csv"))
    shared = [key for key in first if second.get(key)]
    apart = max(abs(float(first[key]) - float(second[key])) for key in shared)
    print(f"  {len(shared)} of {len(first)} crystals predicted by both; at most {apart:.1e} apart")


def rows(path: Path) -> list[tuple[str, str]]:
    """(id, prediction): the first and the last column."""
    with path.open() as file:
        return [(row[0], row[-1]) for row in csv.reader(file) if row[0] != "id"]


def spend(folder: Path, command: list[object], *, ours: bool = True) -> Spent:
    """Run a command and say what it took."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if ours:
        environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(list(map(str, command)), cwd=folder, env=environment, check=True, capture_output=True)
    after, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    return Spent(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def compare_trainings(folder: Path, options: argparse.Namespace) -> None:
    """The second part."""
    count = int(TRAINED * options.crystals)
    sizes = f"{count}/{options.crystals // 10}/{options.crystals // 10}"
    (folder / "recipe.toml").write_text(RECIPE)
    theirs = [options.python, "-W", "ignore", options.checkout.resolve() / "main.py", "--train-ratio", TRAINED, "data"]
    ours = [
        sys.executable,
        "-m",
        "cgcnn",
        "train",
        "data",
        "--recipe",
        "recipe.toml",
        "--sizes",
        sizes,
        "-o",
        "trained",
    ]
    runs: dict[tuple[str, int], list[Spent]] = {
        (name, n): [] for name in ("main.py", "cgcnn train") for n in (1, 1 + MORE)
    }
    for _ in range(options.repeats):
        for (name, n), spent in runs.items():
            command = theirs if name == "main.py" else ours
            spent.append(spend(folder, [*command, "--epochs", n], ours=command is ours))
    found = {}
    for name in ("main.py", "cgcnn train"):
        few, many = least(runs[name, 1]), least(runs[name, 1 + MORE])
        found[name] = Spent((many.clock - few.clock) / MORE, (many.processor - few.processor) / MORE)
    text = f"an epoch, from the least of {options.repeats} with 1 and with {1 + MORE}"
    print(f"\nTraining, {count} crystals, batches of 256; {text}")
    show(found, count)


def least(runs: list[Spent]) -> Spent:
    """The least of each kind of seconds."""
    return Spent(min(run.clock for run in runs), min(run.processor for run in runs))


def show(spent: dict[str, Spent], crystals: int) -> None:
    """Print each command beside the first."""
    base = next(iter(spent.values()))
    for name, used in spent.items():
        rate = f"{crystals / used.clock:7.0f} crystals/s, {crystals / used.processor:7.0f} a processor second"
        ratio = f"{base.clock / used.clock:5.1f} x, {base.processor / used.processor:5.1f} x"
        print(f"  {name:20s} {used.clock:6.2f} s, {used.processor:6.2f} s of processors; {rate}; {ratio}")


if __name__ == "__main__":
    main()
