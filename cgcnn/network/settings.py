"""The shape of a network, the graphs that it reads, and the constants of its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GraphKind = Literal["shells", "original"]
ConvolutionKind = Literal["gated", "simple", "edges"]
Pooling = Literal["mean", "sum", "max", "linear"]
Activation = Literal["softplus", "silu"]
EPSILON = 1e-5  # added to the variances of norms
SHARE = 12**-0.5  # scales the sum of an edge convolution's messages; about one over the root of the neighbours
ROLES = 3  # of the sites of a perovskite: A, B, X
B = 1  # position of B among the roles
CLOSE = 1e-4  # kernels agree within this, in standard deviations of the training targets


@dataclass(frozen=True)
class Settings:
    """The shape of a network and of its graphs.

    Attributes:
        targets: Names of the outputs, the main one first.
        width: Length of the node vectors.
        layers: Number of convolutions. Without any, the network sees which atoms there are but not the graph.
        hidden: Length of the hidden layers after pooling.
        hidden_layers: Number of hidden layers.
        gaussians: Number of terms in the distance expansion.
        radius: The expansion covers 0 to this distance, Å, and neighbours in structures are searched up to it.
        neighbours: Shells are complete up to the one that holds this neighbour.
        dropout: Share of the pooled vector dropped in training.
        graphs: Complete shells, or the cut of the published code (see `cgcnn.graphs.graph.original_graph`).
        convolution: Gated (eq. 5 of the paper), simple (eq. 4), or one that also updates a vector on every edge.
        pooling: How atom vectors become the crystal's: mean (the paper's normalised sum), sum or max. Linear pooling
            has no hidden layers: every atom contributes a number, and the target is the mean of these.
        binary: The targets that are yes or no; their predictions are probabilities of yes.
        activation: Activation of the hidden layers.
        sites: Length of the vectors of A, B and X that the hidden layers also read, with their products; only for
            candidates of prototypes. 0 for none.
        site_spread: Also read the variance of the vectors of B and B', and its products with those of X and A. Without
            it, a readout of sites sees only the mean of B and B'.
        site_dropout: Share of these vectors and products dropped in training.
        mixture: Empty, or four targets: a number, its value if yes, its value if no, and the probability of yes (a
            binary target). The number is then no output of its own but the mean over yes and no.
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
        """Length of the crystal's vector that the hidden layers read."""
        return self.width + self.site_vectors * self.sites

    @property
    def site_vectors(self) -> int:
        """Number of vectors in the readout of sites: A, B, X, AB, AX, BX, ABX, and with the spread B, BX, AB."""
        return 10 if self.site_spread else 7

    @property
    def mixed(self) -> tuple[int, int, int, int] | None:
        """Positions among the targets of the four in `mixture`; None without a mixture."""
        if not self.mixture:
            return None
        whole, yes, no, chance = (self.targets.index(name) for name in self.mixture)
        return whole, yes, no, chance
