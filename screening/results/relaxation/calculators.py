"""Calculators of ASE by name: CHGNet, or whatever a function of the user's makes."""

from __future__ import annotations

import importlib
import io
import sys
from contextlib import redirect_stdout
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

CHGNET = "chgnet"
"""CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023): its energies are those of GGA and GGA+U with the
corrections MaterialsProject2020, so they compare with entries of the Materials Project; its wheel has its weights."""
EXTRA = "pip install 'perovskite-screening[relax]'"


def name_calculator(spec: str) -> str:
    """What tells a calculator from others: the name asked for, with a version where there is one.

    Raises:
        UserError: There is no such calculator, or what it needs is missing.
    """
    _require("ase")
    if spec == CHGNET:
        _require(CHGNET)
        return f"{CHGNET} {version(CHGNET)}"
    _find_factory(spec, str(Path.cwd()))
    try:
        return f"{spec} ({version(spec.partition(':')[0].partition('.')[0])})"
    except PackageNotFoundError:
        return spec


@lru_cache(maxsize=1)
def make_calculator(spec: str, folder: str) -> Any:
    """A calculator of ASE, made once in a process.

    Args:
        spec: ``chgnet``, or ``module:factory`` of a function without arguments that returns a calculator.
        folder: Where modules of the user's are looked for, beside the installed ones.

    Raises:
        UserError: There is none.
    """
    with redirect_stdout(io.StringIO()):  # stdout is the results'
        return _chgnet() if spec == CHGNET else _find_factory(spec, folder)()


def _chgnet() -> Any:
    import torch
    from chgnet.model.dynamics import CHGNetCalculator

    torch.set_num_threads(1)  # workers are the parallelism
    return CHGNetCalculator(use_device=None if torch.cuda.is_available() else "cpu", on_isolated_atoms="ignore")


def _require(library: str) -> None:
    try:
        importlib.import_module(library)
    except ImportError:
        raise UserError(f"{library} is missing; {EXTRA}") from None


def _find_factory(spec: str, folder: str) -> Callable[[], Any]:
    """The function that a specification names.

    Raises:
        UserError: It names none.
    """
    module, _, name = spec.partition(":")
    if not name:
        raise UserError(
            f"`calculator` {spec}: none of ours. Take {CHGNET}, or module:factory for a function of yours that "
            "returns a calculator of ASE."
        )
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        factory: object = importlib.import_module(module)
        for part in name.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"`calculator` {spec}: cannot be imported ({' '.join(str(error).split())}).") from None
    if not callable(factory):
        raise UserError(f"`calculator` {spec}: cannot be called; name a function that returns a calculator of ASE.")
    return factory
