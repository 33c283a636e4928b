"""Files that come with the package: recipes."""

from pathlib import Path

from cgcnn.errors import UserError

_PLACES = (Path(__file__).parent / "recipes", Path(__file__).parent.parent / "recipes")
"""In an installed package, and in a checkout."""


def recipes() -> dict[str, Path]:
    """Shipped recipes: name -> TOML file, of trainings and of screens."""
    folder = next((place for place in _PLACES if place.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(name_or_path: str) -> Path:
    """The file of a shipped recipe's name, or the path itself if there is such a file.

    Raises:
        UserError: there is neither.
    """
    known = recipes()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such recipe; pass a TOML file or one of: {', '.join(known)}.")
    return path
