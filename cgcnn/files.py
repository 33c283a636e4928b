"""Files: CSV tables that appear whole or not at all, and the TOML files that come with the package."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a header and rows.

    Raises:
        UserError: The file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from None


def shipped_files(installed: Path, checkout: str) -> dict[str, Path]:
    """TOML files that are shipped together: name -> file.

    Args:
        installed: Where they are in an installed package.
        checkout: Where they are in a checkout, from its root.
    """
    places = (installed, Path(__file__).parent.parent / checkout)
    folder = next((place for place in places if place.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipes() -> dict[str, Path]:
    """Shipped recipes: name -> TOML file, of trainings and of screens."""
    return shipped_files(Path(__file__).parent / "recipes", "recipes")


def find_recipe(name_or_path: str) -> Path:
    """The file of a shipped recipe's name, or the path itself if there is such a file.

    Raises:
        UserError: There is neither.
    """
    known = recipes()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such recipe; pass a TOML file or one of: {', '.join(known)}.")
    return path
