"""High-throughput screening of perovskites: spaces, blocks, runs, rankings.

    import screening

    run = screening.screen("perovskites", elements=["Ca", "Sr", "Ba", "Ti", "Zr", "O"], out="R.zarr", progress=True)
    top = run.rank(sort="p_stable", top=20)                # a table of pandas; its units are in top.attrs["units"]
    crystals = top.structures()                            # of pymatgen
    data = run.to_xarray()                                 # formulas and symbols as coordinates, units
    screening.score(a=["Ba"], b=["Ti", "Zr"], x=["O"])     # a small space, here and now
    screening.open_run("R.zarr").report("report.html")

What is wrong is a `screening.UserError`. Importing this imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from screening.api import Run, open_run, score, screen

__all__ = ["Run", "UserError", "open_run", "score", "screen"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("screening.api"), name)
    raise AttributeError(f"module 'screening' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
