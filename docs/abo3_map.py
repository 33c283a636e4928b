"""Draw the map of the README: predicted energy above hull of ABO3 for every A and B of a run.

screen run castelli-oxides --no-filter && python docs/abo3_map.py castelli-oxides.zarr docs/abo3-map.png
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from cgcnn.elements import SYMBOLS
from screening.store import StoredRun


def main(run_path: str, picture: str) -> None:
    """Read a run of ABO3 and write the map."""
    with StoredRun.open(run_path) as run:
        rows = run.read(["species", "e_above_hull"], 0, run.header.rows)
    a, b = (np.unique(rows["species"][:, site]) for site in (0, 1))
    energies = rows["e_above_hull"].reshape(len(a), len(b))
    rank_a, rank_b = np.argsort(energies.mean(axis=1)), np.argsort(energies.mean(axis=0))

    figure, axes = plt.subplots(figsize=(11, 10.2), layout="constrained")
    image = axes.imshow(energies[rank_a][:, rank_b], cmap="RdYlBu_r", vmin=-0.2, vmax=2.0)
    axes.set_xticks(range(len(b)), [SYMBOLS[z] for z in b[rank_b]], fontsize=7)
    axes.set_yticks(range(len(a)), [SYMBOLS[z] for z in a[rank_a]], fontsize=7)
    axes.set(xlabel="B", ylabel="A", title=f"Cubic ABO$_3$: predicted energy above hull ({run.header.recipe['model']})")
    figure.colorbar(image, label="eV/atom", shrink=0.8, extend="both")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
