"""The compiled kernel for candidates of prototypes: gated convolutions on fixed templates, in `template_kernel.cpp`.

Every instruction set gives the same bits, whatever the number and order of the candidates. This file loads the library,
packs networks and templates for it, and calls it.

Packing puts columns side by side in groups of `GROUP` and pads widths to a multiple of it with zeros. All vectors are
in units of ln 2 and gates are negated, so that softplus and sigmoid become powers of two; only the readout of sites
keeps units of one, because it multiplies vectors with each other. The products of the first convolution become a table
by element. Those with expanded distances become a table by distance, in which the kernel interpolates. Packing computes
in double precision and rounds once.

Shapes: L layers, W width, P padded width, K Gaussians, D rows of the distance table, T targets.
"""

from __future__ import annotations

import ctypes
from ctypes import byref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cgcnn.elements import MAX_Z
from cgcnn.graphs.prototype import templates
from cgcnn.network.kernel import Gated
from cgcnn.network.numpy_kernel import NumpyKernel, mix
from cgcnn.network.settings import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype, Template
    from cgcnn.network.kernel import Folded, Outputs
    from cgcnn.network.settings import Pooling

    Doubles = NDArray[np.float64]
    Reals = NDArray[np.floating]


VERSION = 3  # of the arithmetic and the records; keep equal in template_kernel.cpp
GROUP = 16  # columns in a group of packed weights; keep equal there
MOST_NODES = MOST_DISTANCES = 64  # of a template; keep equal there
SETS = ("avx512", "avx2", "neon")  # the fastest first
LIBRARY = Path(__file__).with_name("_template_kernel.so")

_INT, _POINTER = ctypes.c_int32, ctypes.c_void_p


class NetworkRecord(ctypes.Structure):
    """A member; see template_kernel.cpp."""

    _fields_ = (
        *((name, _INT) for name in ("width", "layers", "hidden", "hidden_layers", "outputs", "pooling")),
        *((name, _INT) for name in ("sites", "site_vectors", "activation", "table_rows")),
        ("table_step", ctypes.c_float),
        *((name, _POINTER) for name in ("elements", "first", "convolution", "convolution_bias")),
        *((name, _POINTER) for name in ("distance", "scale", "shift")),
        ("site_table", _POINTER),
        *((name, _POINTER) for name in ("hidden_weight", "hidden_bias", "output_weight", "output_bias", "binary")),
    )


class TemplateRecord(ctypes.Structure):
    """A quotient graph; see template_kernel.cpp."""

    _fields_ = (
        *((name, _INT) for name in ("nodes", "edges", "distances", "sites")),
        *((name, _POINTER) for name in ("site", "share", "role", "role_share")),
        *((name, _POINTER) for name in ("first_edge", "source", "which", "edge_multiplicity", "length")),
    )


class CandidatesRecord(ctypes.Structure):
    """What fills a template, and where the targets go; see template_kernel.cpp."""

    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, _POINTER) for name in ("rows", "species", "a", "out")),
        ("targets", _INT),
    )


Record = TypeVar("Record", NetworkRecord, TemplateRecord, CandidatesRecord)


def record(kind: type[Record], **values: float | NDArray[np.generic]) -> Record:
    """Make a record of numbers and of pointers to arrays, which it keeps alive."""
    made = kind(**{name: v.ctypes.data if isinstance(v, np.ndarray) else v for name, v in values.items()})
    made.kept = values  # an attribute of Python's object, not of the struct
    return made


@cache
def instruction_sets() -> tuple[str, ...]:
    """Return the sets that were compiled and that this machine has, fastest first; empty without a library."""
    library = _library()
    if library is None:
        return ()
    return tuple(name for name in SETS if library.kernel_supports(name.encode()))


def missing() -> str:
    """Say why no instruction set can be used, and the remedy; empty if one can."""
    if instruction_sets():
        return ""
    if not LIBRARY.exists():
        return "was not compiled at the installation; install again where there is a C++ compiler"
    return "is of another version or does not load; install again" if _library() is None else "needs AVX2 and FMA"


def function(name: str, instructions: str) -> Callable[..., Any]:
    """Return a function of the library: "predict" or, for tests, "functions".

    Raises:
        ValueError: The instruction set is not available here.
    """
    library = _library()
    if library is None or instructions not in instruction_sets():
        raise ValueError(f"instruction set {instructions}: not one of {instruction_sets()}, which are available here")
    return getattr(library, f"{name}_{instructions}")  # type: ignore[no-any-return]  # ctypes types it so


@cache
def _library() -> ctypes.CDLL | None:
    """Load the library; None if it is not there or of another version."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    return library if library.kernel_version() == VERSION else None


UNIT = np.log(2)  # of vectors
STEPS = 24  # rows of the distance table per Gaussian width; interpolation errs by 1e-6 of a Gaussian's height
BEYOND = 6  # widths after the last centre, where every Gaussian is 0 (1e-16)
_ACTIVATIONS = {"softplus": 0, "silu": 1}
_POOLS = {"mean": 0, "sum": 0, "max": 1, "linear": 2}


def pack_network(folded: Folded, member: int) -> NetworkRecord:
    """Pack a member, whose convolutions must be gated."""
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
        NetworkRecord,
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


def pack_template(template: Template, pooling: Pooling) -> TemplateRecord:
    """Pack a quotient graph.

    Raises:
        ValueError: It has more nodes or more distinct distances than the kernel has room for.
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
    real = {"share": share, "role_share": of_role, "edge_multiplicity": graph.edge_multiplicity, "length": lengths}
    return record(
        TemplateRecord,
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
    """Pad an array with zeros at the end of each axis."""
    made = np.zeros(shape)
    made[tuple(slice(size) for size in array.shape)] = array
    return made


def _grouped(matrix: Doubles) -> Doubles:
    """Regroup a matrix (rows, columns) as (columns / GROUP, rows, GROUP)."""
    return matrix.reshape(len(matrix), -1, GROUP).transpose(1, 0, 2)


def _aligned(*arrays: Reals) -> NDArray[np.float32]:
    """Join arrays into one that starts at a cache line."""
    size = sum(array.size for array in arrays)
    room = np.empty(size + GROUP, dtype=np.float32)
    start = -room.ctypes.data % 64 // room.itemsize
    made = room[start : start + size]
    if arrays:
        np.concatenate([array.ravel() for array in arrays], out=made, casting="same_kind")
    return made


def _signed(columns: Reals) -> Doubles:
    """Pad gate | core (…, 2W) to (…, 2P) and negate the gates."""
    width = columns.shape[-1] // 2
    longer = _longer(width)
    made = np.zeros((*columns.shape[:-1], 2 * longer))
    made[..., :width] = -columns[..., :width]
    made[..., longer : longer + width] = columns[..., width:]
    return made


def _convolution(layer: Gated, member: int) -> tuple[Doubles, Doubles]:
    """Return the matrix (P, 4P), gate | core as receiver and as sender, and the bias (4P,)."""
    weight = np.concatenate([_signed(layer.receiver.weight[member]), _signed(layer.sender[member])], axis=1)
    bias = _signed(layer.receiver.bias[member]) / UNIT
    return _grown(weight, _longer(len(weight)), weight.shape[1]), np.concatenate([bias, np.zeros_like(bias)])


def _first(table: Doubles, weight: Doubles, bias: Doubles) -> Doubles:
    """Return the first convolution's products (101, 4P) by element; NaN without features."""
    return table @ weight[: table.shape[1]] + bias


def _distances(folded: Folded, member: int) -> tuple[Doubles, float]:
    """Return the products (L, D, 2P) of expanded distances, row i for (i - 1) steps, and the step in Å."""
    centres = folded.centres.astype(np.float64)
    spacing = centres[1] - centres[0]
    step = float(np.float32(spacing / STEPS))
    rows = int((centres[-1] + BEYOND * spacing) / step) + 4
    offset = (np.arange(-1, rows - 1)[:, None] * step - centres) / spacing  # (D, K)
    expanded = np.exp(-np.square(offset))
    return np.stack([_signed(expanded @ layer.distance[member]) / UNIT for layer in _gated(folded)]), step


def _after_pooling(folded: Folded, member: int) -> list[Doubles]:
    """Return the weights after pooling, for vectors in the kernel's units; the last products are in units of one."""
    weights = [layer.weight[member].astype(np.float64) for layer in (*folded.hidden, folded.output)]
    weights[-1] *= UNIT
    width, sites = folded.settings.width, folded.settings.sites
    if sites:
        parts = np.split(weights[0][width:] / UNIT, folded.settings.site_vectors)
        longer = [_grown(part, _longer(sites), part.shape[1]) for part in parts]
        weights[0] = np.concatenate([_grown(weights[0][:width], _longer(width), weights[0].shape[1]), *longer])
    return weights


class TemplateKernel(NumpyKernel):
    """Candidates in compiled code, other graphs in numpy; see `cgcnn.network.kernel.Kernel`.

    Attributes:
        instructions: The instruction set in use.
    """

    name = "template"
    version = VERSION
    independent = True

    def __init__(self, folded: Folded, instructions: str | None = None) -> None:
        """Pack the networks for an instruction set, by default the fastest of this machine.

        Raises:
            ValueError: The convolutions are not gated, or the instruction set is not available here.
        """
        if folded.settings.convolution != "gated" or not folded.settings.layers:
            what = folded.settings.convolution if folded.settings.layers else "none"
            raise ValueError(f"the template kernel knows gated convolutions, not {what}")
        self.instructions = instructions or next(iter(instruction_sets()), "none")
        self._predict = function("predict", self.instructions)
        super().__init__(folded)
        self._packed = [pack_network(folded, i) for i in range(len(folded.table))]
        self._covered = np.asarray(~np.isnan(folded.table).any(axis=(0, 2)))  # (101,)

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """Predict the targets (members, n, T) of n candidates; NaN without element features or a finite ``a``.

        Raises:
            ValueError: An atomic number is too large, or the arrays do not match.
        """
        species, a = np.ascontiguousarray(species, dtype=np.uint8), np.ascontiguousarray(a, dtype=np.float32)
        if species.shape != (len(a), len(prototype.sites)) or (species > MAX_Z).any():
            raise ValueError(f"species {species.shape}, up to {species.max(initial=0)}, for {len(a)} lattice constants")
        settings = self.folded.settings
        outputs = np.empty((len(self._packed), len(species), len(settings.targets)), dtype=np.float32)
        for template, rows in templates(prototype, species, settings.neighbours):
            graph, served = pack_template(template, settings.pooling), np.ascontiguousarray(rows, dtype=np.int64)
            for member, out in zip(self._packed, outputs, strict=True):
                candidates = record(
                    CandidatesRecord,
                    count=len(served),
                    rows=served,
                    species=species,
                    a=a,
                    out=out,
                    targets=len(settings.targets),
                )
                if self._predict(byref(member), byref(graph), byref(candidates)):
                    raise MemoryError("no memory for a block of candidates")
        for out in outputs:
            mix(out, settings.mixed)
        outputs[:, ~(self._covered[species].all(axis=1) & np.isfinite(a))] = np.nan
        return outputs
