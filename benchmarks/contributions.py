"""How far the contributions of castelli-linear can be trusted, as docs/figures-of-the-paper.md says.

python benchmarks/contributions.py

For each kind of site: whether its networks rank the elements alike, and whether what an element contributes is what its
crystals come to (correlations over the elements); how far the networks' means lie apart, eV/atom.
"""

import numpy as np

from cgcnn.inference.explain import of_compositions, site_means
from cgcnn.models.files import load
from cgcnn.models.model import Model


def main() -> None:
    """Print the figures."""
    model = load("castelli-linear")
    single = [Model(model.card, [member], model.domain) for member in model.members[:2]]
    every, *alone = (site_means(of_compositions(each)) for each in (model, *single))
    for whole, first, second in zip(every, *alone, strict=True):
        alike = np.corrcoef(first.mean, second.mean)[0, 1]
        same = np.corrcoef(whole.mean, whole.prediction)[0, 1]
        print(f"{whole.role}: two networks {alike:.3f}, contribution and crystals {same:.3f}", end="; ")
        print(f"means {abs(first.mean.mean() - second.mean.mean()):.2f} eV/atom apart")


if __name__ == "__main__":
    main()
