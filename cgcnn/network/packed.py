"""What `Folded` holds, as the compiled kernel reads it.

Columns go side by side in groups of `GROUP`, and widths are made longer to a multiple of it with zeros. All vectors are
in units of ln 2 and gates are negated, so that softplus and sigmoid are of powers of two. The products of the first
convolution are rows of a table by element, and those with expanded distances rows of a table by distance, between which
the kernel interpolates. Everything is made in double precision and rounded once.

Shapes: L layers, W width, P width made longer, K Gaussians, D rows of the table of distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z
from cgcnn.network import compiled
from cgcnn.network.compiled import GROUP, MOST_DISTANCES, MOST_NODES, record
from cgcnn.network.folded import Gated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.template import Template
    from cgcnn.network.folded import Folded, Linear
    from cgcnn.network.settings import Pooling

    Doubles = NDArray[np.float64]
    Reals = NDArray[np.floating]

UNIT = np.log(2)  # of vectors
STEPS = 24  # rows of the table of distances for each width of the Gaussians; between them 1e-6 of a Gaussian's height
BEYOND = 6  # widths after the last centre, where every Gaussian is 0 (1e-16)
_POOLS = {"mean": 0, "sum": 0, "max": 1, "linear": 2}


def pack_network(folded: Folded, member: int) -> compiled.Network:
    """A member, whose convolutions must be gated."""
    settings, layers = folded.settings, _gated(folded)
    width, hidden, outputs = (_longer(size) for size in (settings.width, settings.hidden, len(folded.binary)))
    table = folded.table[member].astype(np.float64) / UNIT
    convolutions = [_convolution(layer, member) for layer in layers]
    weights = [_grown(layer.weight[member], _longer(layer.weight.shape[1]), hidden) for layer in folded.hidden]
    distances, step = _distances(folded, member)
    last = _in_units_of_one(folded.output, member)
    return record(
        compiled.Network,
        width=width,
        layers=len(layers),
        hidden=hidden,
        hidden_layers=len(weights),
        outputs=outputs,
        pooling=_POOLS[settings.pooling],
        table_rows=distances.shape[1],
        table_step=step,
        elements=_aligned(_grown(table, MAX_Z + 1, width)),
        first=_aligned(_first(table, *convolutions[0])),
        convolution=_aligned(*(_grouped(weight) for weight, _ in convolutions[1:])),
        convolution_bias=_aligned(*(bias for _, bias in convolutions[1:])),
        distance=_aligned(distances),
        scale=_aligned(*(_grown(layer.scale[member], width) for layer in layers)),
        shift=_aligned(*(_grown(layer.shift[member] / UNIT, width) for layer in layers)),
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
    whole = {"site": graph.numbers, "first_edge": first_edge, "source": graph.source, "which": which}
    share = graph.multiplicity / (1 if pooling == "sum" else graph.multiplicity.sum())
    real = {"share": share, "often": graph.edge_multiplicity, "length": lengths}
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


def _in_units_of_one(output: Linear, member: int) -> Doubles:
    """(inputs, T) the last product's weights."""
    return np.asarray(output.weight[member] * UNIT)
