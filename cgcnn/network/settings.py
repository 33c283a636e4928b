"""What fixes a network's shape and the graphs that it reads, and the constants of its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GraphKind = Literal["shells", "original"]
ConvolutionKind = Literal["gated", "simple", "edges"]
Pooling = Literal["mean", "sum", "max", "linear"]
Activation = Literal["softplus", "silu"]
EPSILON = 1e-5  # added to the variances of norms
SHARE = 12**-0.5  # of the sum of the messages of edges that goes on; about the root of the number of neighbours
ROLES = 3  # of the sites of a perovskite: A, B, X
B = 1  # position of B among the roles
CLOSE = 1e-4  # kernels agree within this, in deviations of the training targets


@dataclass(frozen=True)
class Settings:
    """Everything that fixes a network's shape and its graphs.

    Attributes:
        targets: Names of the outputs, the main one first.
        width: Length of the node vectors.
        layers: Convolutions; with none the network sees which atoms there are, but not the graph.
        hidden: Length of the hidden layers after pooling.
        hidden_layers: How many of these.
        gaussians: Terms of the distance expansion.
        radius: Å; the expansion covers 0 to radius, and structures are searched for neighbours up to it.
        neighbours: Shells are complete up to the one that holds this neighbour.
        dropout: Share of the pooled vector dropped in training.
        graphs: Complete shells, or the cut of the published code (`cgcnn.graphs.original`).
        convolution: Gated (eq. 5 of the paper), simple (eq. 4), or one with vectors of edges that it updates.
        pooling: How the vectors of the atoms become that of the crystal: mean (the paper's normalised sum), sum, max.
            With linear there are no hidden layers: every atom contributes a number, and the target is their mean.
        binary: Those of the targets that are yes or no; their predictions are probabilities of yes.
        activation: Of the hidden layers.
        sites: Length of the vectors of A, B and X that go to the hidden layers too, with their products; for candidates
            of prototypes. 0 for none.
        site_spread: Whether the variance of the vectors of B and B' goes with them, and its products with those of X
            and A; without it a readout of sites knows but the mean of the two.
        site_dropout: Share of these vectors and products dropped in training.
        mixture: None or four of the targets: a number, what it is if yes, what it is if no, and the probability of yes,
            a binary target. The first is then no output of its own: it is the mean over yes and no.
    """

    targets: tuple[str, ...]
    width: int = 64
    layers: int = 3
    hidden: int = 128
    hidden_layers: int = 1
    gaussians: int = 40
    radius: float = 8.0
    neighbours: int = 12
    dropout: float = 0.0
    graphs: GraphKind = "shells"
    convolution: ConvolutionKind = "gated"
    pooling: Pooling = "mean"
    binary: tuple[str, ...] = ()
    activation: Activation = "softplus"
    sites: int = 0
    site_spread: bool = False
    site_dropout: float = 0.0
    mixture: tuple[str, ...] = ()

    @property
    def readout_width(self) -> int:
        """Length of the vector of a crystal that the hidden layers read."""
        return self.width + self.site_vectors * self.sites

    @property
    def site_vectors(self) -> int:
        """How many vectors the readout of sites has: A, B, X, AB, AX, BX, ABX, and of the spread B, BX, AB."""
        return 10 if self.site_spread else 7

    @property
    def mixed(self) -> tuple[int, int, int, int] | None:
        """Positions among the targets of those of `mixture`; None without one."""
        if not self.mixture:
            return None
        whole, yes, no, chance = (self.targets.index(name) for name in self.mixture)
        return whole, yes, no, chance
