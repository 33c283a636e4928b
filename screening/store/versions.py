"""What must be the same wherever a block is scored: the packages that decide its bits, and how processes talk."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from cgcnn import __version__
from cgcnn.network.template_kernel import VERSION, instruction_sets

DECISIVE = ("torch", "numpy", "pymatgen")
"""Packages whose versions decide the bits of a result: they are part of a run's identity."""
PACKAGES = (*DECISIVE, "zarr", "dask", "distributed")
Versions = tuple[tuple[str, str], ...]


def versions() -> Versions:
    """Name and version of Python, of this program, of the packages that matter, and of the compiled kernel.

    Builds of torch count as one, and instruction sets of the kernel too, which give the same bits.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    found = ((name, _version(name).partition("+")[0]) for name in PACKAGES)
    kernel = str(VERSION) if instruction_sets() else "not compiled"
    return (("python", python), ("perovskite-screening", __version__), *found, ("template kernel", kernel))


def decisive() -> dict[str, str]:
    """Version of each package that decides the bits of a result."""
    return {name: _version(name).partition("+")[0] for name in DECISIVE}


def differences(here: Versions, there: Versions) -> str:
    """What differs, in words; empty if nothing does."""
    theirs = dict(there)
    return ", ".join(f"{name} is {theirs.get(name)}, not {mine}" for name, mine in here if theirs.get(name) != mine)


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
