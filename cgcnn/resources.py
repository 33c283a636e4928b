"""Files that come with the package: TOML files of recipes, and of whatever else ships some."""

from pathlib import Path

from cgcnn.errors import UserError


def shipped_files(installed: Path, checkout: str) -> dict[str, Path]:
    """TOML files that are shipped together: name -> file.

    Args:
        installed: where they are in an installed package.
        checkout: where they are in a checkout, from its root.
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
        UserError: there is neither.
    """
    known = recipes()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such recipe; pass a TOML file or one of: {', '.join(known)}.")
    return path
