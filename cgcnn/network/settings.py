"""What fixes a network's shape and the graphs that it reads, and the constants of its mathematics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GraphKind = Literal["shells", "original"]
ConvolutionKind = Literal["gated", "simple", "edges"]
Pooling = Literal["mean", "sum", "max", "linear"]
EPSILON = 1e-5  # added to the variances of norms
SHARE = 12**-0.5  # of the sum of the messages of edges that goes on; about the root of the number of neighbours
CLOSE = 1e-4  # kernels agree within this, in deviations of the training targets


@dataclass(frozen=True)
class Settings:
    """Everything that fixes a network's shape and its graphs.

    Attributes:
        targets: Names of the outputs, the main one first.
        width: Length of the node vectors.
        layers: Convolutions.
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
