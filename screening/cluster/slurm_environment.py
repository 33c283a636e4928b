"""What SLURM tells a job in its environment."""

from __future__ import annotations

import os

from cgcnn.errors import UserError


def counted(name: str, default: int | None = None) -> int:
    """A number of components or tasks.

    Args:
        name: Of the variable.
        default: Where it is not set.

    Raises:
        UserError: It is no number above 0, or it is not set and there is no default.
    """
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        said = "not set" if text is None else f"{text!r} is no number above 0"
        raise UserError(f"{name}: {said}. SLURM sets it in jobs: unset SLURM's variables where this is none.")
    return int(text)
