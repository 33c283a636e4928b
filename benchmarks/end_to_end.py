"""How long a screen takes from the shell, imports, workers and files included; the median of some repeats.

python benchmarks/end_to_end.py [--repeats 3]
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES = {
    "README example (40 candidates)": (
        "perovskites", "--elements", "Ca,Sr,Ba,La,Ti,Zr,Hf,Nb,Ta,O,N", "--out", "R.zarr", "--csv", "R.csv",
    ),
    "castelli-oxides (2,704 candidates)": ("run", "castelli-oxides", "--csv", "R.csv"),
    "castelli-grid (54,080 candidates)": ("run", "castelli-grid", "--csv", "R.csv"),
    "screen --help": ("--help",),
}  # fmt: skip


def seconds(arguments: tuple[str, ...]) -> float:
    """Wall-clock seconds of one command in a fresh directory."""
    root = str(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "screening", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": root})
        return time.perf_counter() - begun


def main() -> None:
    """Time each case and print a table with the conditions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, load {load:.1f} before;")
    print(f"median (fastest - slowest) of {repeats} runs, s")
    for name, arguments in CASES.items():
        times = sorted(seconds(arguments) for _ in range(repeats))
        print(f"{name:<46} {statistics.median(times):6.1f}  ({times[0]:.1f} - {times[-1]:.1f})")


if __name__ == "__main__":
    main()
