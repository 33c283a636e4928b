"""The compiled library of `template_kernel.cpp`: which instruction sets it offers here, and what its functions take."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

VERSION = 3  # of the arithmetic and of the records; as in template_kernel.cpp
GROUP = 16  # columns that weights are packed by; as there
MOST_NODES = MOST_DISTANCES = 64  # of a template; as there
SETS = ("avx512", "avx2", "neon")  # the fastest first
LIBRARY = Path(__file__).with_name("_template_kernel.so")

_INT, _POINTER = ctypes.c_int32, ctypes.c_void_p


class Network(ctypes.Structure):
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


class Template(ctypes.Structure):
    """A quotient graph; see template_kernel.cpp."""

    _fields_ = (
        *((name, _INT) for name in ("nodes", "edges", "distances", "sites")),
        *((name, _POINTER) for name in ("site", "share", "role", "role_share")),
        *((name, _POINTER) for name in ("first_edge", "source", "which", "often", "length")),
    )


class Candidates(ctypes.Structure):
    """What fills a template, and where targets go; see template_kernel.cpp."""

    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, _POINTER) for name in ("rows", "species", "a", "out")),
        ("targets", _INT),
    )


Record = TypeVar("Record", Network, Template, Candidates)


def record(kind: type[Record], **values: float | NDArray[np.generic]) -> Record:
    """A record of numbers and of pointers to arrays, which it keeps alive."""
    made = kind(**{name: v.ctypes.data if isinstance(v, np.ndarray) else v for name, v in values.items()})
    made.kept = values  # an attribute of Python's object, not of the struct
    return made


@cache
def instruction_sets() -> tuple[str, ...]:
    """Those that the library was compiled for and that this machine has, the fastest first; none without a library."""
    library = _library()
    if library is None:
        return ()
    return tuple(name for name in SETS if library.kernel_supports(name.encode()))


def missing() -> str:
    """Why there is no instruction set, and the remedy; empty if there is one."""
    if instruction_sets():
        return ""
    if not LIBRARY.exists():
        return "was not compiled at the installation; install again where there is a C++ compiler"
    return "is of another version or does not load; install again" if _library() is None else "needs AVX2 and FMA"


def function(name: str, instructions: str) -> Callable[..., Any]:
    """A function of the library: "predict" or, for tests, "functions".

    Raises:
        ValueError: The set is not to be had here.
    """
    library = _library()
    if library is None or instructions not in instruction_sets():
        raise ValueError(f"instruction set {instructions}: not one of {instruction_sets()}, which are to be had here")
    return getattr(library, f"{name}_{instructions}")  # type: ignore[no-any-return]  # ctypes types it so


@cache
def _library() -> ctypes.CDLL | None:
    """None where nothing was compiled, or another version of the source."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    return library if library.kernel_version() == VERSION else None
