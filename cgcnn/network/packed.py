"""What `Folded` holds, as the compiled kernel reads it.

Columns go side by side in groups of `GROUP`, and widths are made longer to a multiple of it with zeros. All vectors are
in units of ln 2 and gates are negated, so that softplus and sigmoid are of powers of two. The products of the first
convolution are rows of a table by element, and those with expanded distances rows of a table by distance, between which
the kernel interpolates. Everything is made in double precision and rounded once.

The vectors of the readout of sites are in units of one, as the products of two are not those of others.

Shapes: L layers, W width, P width made longer, K Gaussians, D rows of the table of distances, S length of the vectors
of the readout of sites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z
from cgcnn.network import compiled
from cgcnn.network.compiled import GROUP, MOST_DISTANCES, MOST_NODES, record
from cgcnn.network.folded import Gated
from cgcnn.network.settings import ROLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.template import Template
    from cgcnn.network.folded import Folded
    from cgcnn.network.settings import Pooling

    Doubles = NDArray[np.float64]
    Reals = NDArray[np.floating]

UNIT = np.log(2)  # of vectors
STEPS = 24  # rows of the table of distances for each width of the Gaussians; between them 1e-6 of a Gaussian's height
BEYOND = 6  # widths after the last centre, where every Gaussian is 0 (1e-16)
_ACTIVATIONS = {"softplus": 0, "silu": 1}
_POOLS = {"mean": 0, "sum": 0, "max": 1, "linear": 2}


def pack_network(folded: Folded, member: int) -> compiled.Network:
    """A member, whose convolutions must be gated."""
    settings, layers = folded.settings, _gated(folded)
    width, hidden, outputs = (_longer(size) for size in (settings.width, settings.hidden, len(folded.binary)))
    table = folded.table[member].astype(np.float64) / UNIT
    convolutions = [_convolution(layer, member) for layer in layers]
    *weights, last = _after_pooling(folded, member)
    weights = [_grown(weight, _longer(len(weight)), hidden) for weight in weights]
    distances, step = _distances(folded, member)
    sites = _longer(settings.sites)
    vectors = np.zeros((ROLES, MAX_Z + 1, 0)) if folded.sites is None else folded.sites[member]
    return record(
        compiled.Network,
        width=width,
        layers=len(layers),
        hidden=hidden,
        hidden_layers=len(weights),
        outputs=outputs,
        pooling=_POOLS[settings.pooling],
        sites=sites,
        site_vectors=settings.site_vectors,
        activation=_ACTIVATIONS[settings.activation],
        table_rows=distances.shape[1],
        table_step=step,
        elements=_aligned(_grown(table, MAX_Z + 1, width)),
        first=_aligned(_first(table, *convolutions[0])),
        convolution=_aligned(*(_grouped(weight) for weight, _ in convolutions[1:])),
        convolution_bias=_aligned(*(bias for _, bias in convolutions[1:])),
        distance=_aligned(distances),
        scale=_aligned(*(_grown(layer.scale[member], width) for layer in layers)),
        shift=_aligned(*(_grown(layer.shift[member] / UNIT, width) for layer in layers)),
        site_table=_aligned(_grown(vectors, ROLES, MAX_Z + 1, sites)),
        hidden_weight=_aligned(*(_grouped(weight) for weight in weights)),
        hidden_bias=_aligned(*(_grown(layer.bias[member] / UNIT, hidden) for layer in folded.hidden)),
        output_weight=_aligned(_grouped(_grown(last, _longer(len(last)), outputs))),
        output_bias=_aligned(_grown(folded.output.bias[member], outputs)),
        binary=_aligned(_grown(folded.binary.astype(np.float64), outputs)),
    )


def pack_template(template: Template, pooling: Pooling) -> compiled.Template:
    """A quotient graph.

    Raises:
        ValueError: It has more nodes or more different distances than the kernel has room for.
    """
    graph = template.graph
    lengths, which = np.unique(graph.distance, return_inverse=True)
    if len(graph.numbers) > MOST_NODES or len(lengths) > MOST_DISTANCES:
        raise ValueError(f"a template of {len(graph.numbers)} nodes and {len(lengths)} distances is too large")
    first_edge = np.searchsorted(graph.target, np.arange(len(graph.numbers) + 1))
    whole = {"site": graph.numbers, "role": template.role, "first_edge": first_edge}
    whole |= {"source": graph.source, "which": which}
    share = graph.multiplicity / (1 if pooling == "sum" else graph.multiplicity.sum())
    of_role = graph.multiplicity / np.bincount(template.role, graph.multiplicity)[template.role]
    real = {"share": share, "role_share": of_role, "often": graph.edge_multiplicity, "length": lengths}
    return record(
        compiled.Template,
        nodes=len(graph.numbers),
        edges=len(graph.source),
        distances=len(lengths),
        sites=len(template.node_of_site),
        **{name: np.ascontiguousarray(array, dtype=np.int32) for name, array in whole.items()},
        **{name: np.ascontiguousarray(array, dtype=np.float32) for name, array in real.items()},
    )


def _gated(folded: Folded) -> list[Gated]:
    return [layer for layer in folded.convolutions if isinstance(layer, Gated)]


def _longer(size: int) -> int:
    return -(-size // GROUP) * GROUP


def _grown(array: Reals, *shape: int) -> Doubles:
    """The array with zeros after it, along each axis."""
    made = np.zeros(shape)
    made[tuple(slice(size) for size in array.shape)] = array
    return made


def _grouped(matrix: Doubles) -> Doubles:
    """(columns / GROUP, rows, GROUP) of a matrix (rows, columns)."""
    return matrix.reshape(len(matrix), -1, GROUP).transpose(1, 0, 2)


def _aligned(*arrays: Reals) -> NDArray[np.float32]:
    """Arrays one after the other, from where a line of the cache starts."""
    size = sum(array.size for array in arrays)
    room = np.empty(size + GROUP, dtype=np.float32)
    start = -room.ctypes.data % 64 // room.itemsize
    made = room[start : start + size]
    if arrays:
        np.concatenate([array.ravel() for array in arrays], out=made, casting="same_kind")
    return made


def _signed(columns: Reals) -> Doubles:
    """(…, 2P) gate | core from (…, 2W), with gates negated."""
    width = columns.shape[-1] // 2
    longer = _longer(width)
    made = np.zeros((*columns.shape[:-1], 2 * longer))
    made[..., :width] = -columns[..., :width]
    made[..., longer : longer + width] = columns[..., width:]
    return made


def _convolution(layer: Gated, member: int) -> tuple[Doubles, Doubles]:
    """(P, 4P) gate | core of what a node receives and of what it sends, and (4P,) what is added."""
    weight = np.concatenate([_signed(layer.receiver.weight[member]), _signed(layer.sender[member])], axis=1)
    bias = _signed(layer.receiver.bias[member]) / UNIT
    return _grown(weight, _longer(len(weight)), weight.shape[1]), np.concatenate([bias, np.zeros_like(bias)])


def _first(table: Doubles, weight: Doubles, bias: Doubles) -> Doubles:
    """(101, 4P) the first convolution's products, by element; NaN without features."""
    return table @ weight[: table.shape[1]] + bias


def _distances(folded: Folded, member: int) -> tuple[Doubles, float]:
    """(L, D, 2P) products of expanded distances, row i for (i - 1) steps, and the step in Å."""
    centres = folded.centres.astype(np.float64)
    spacing = centres[1] - centres[0]
    step = float(np.float32(spacing / STEPS))
    rows = int((centres[-1] + BEYOND * spacing) / step) + 4
    offset = (np.arange(-1, rows - 1)[:, None] * step - centres) / spacing  # (D, K)
    expanded = np.exp(-np.square(offset))
    return np.stack([_signed(expanded @ layer.distance[member]) / UNIT for layer in _gated(folded)]), step


def _after_pooling(folded: Folded, member: int) -> list[Doubles]:
    """Weights of the layers after pooling, for vectors in the kernel's units; the last one's products are in one's."""
    weights = [layer.weight[member].astype(np.float64) for layer in (*folded.hidden, folded.output)]
    weights[-1] *= UNIT
    width, sites = folded.settings.width, folded.settings.sites
    if sites:
        parts = np.split(weights[0][width:] / UNIT, folded.settings.site_vectors)
        longer = [_grown(part, _longer(sites), part.shape[1]) for part in parts]
        weights[0] = np.concatenate([_grown(weights[0][:width], _longer(width), weights[0].shape[1]), *longer])
    return weights
