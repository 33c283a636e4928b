"""The rooms of both packages and who imports whom, read from the source: draws `docs/architecture.svg`.

    python docs/architecture.py

`tests/test_imports.py` holds the source to the same order.
"""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = {
    "cgcnn": [
        "errors",
        "elements",
        "files",
        "graphs",
        "network",
        "data",
        "models",
        "inference",
        "training",
        "api",
        "testing",
        "cli",
    ],
    "screening": [
        "status",
        "recipe",
        "store",
        "cluster",
        "chemistry",
        "candidates",
        "plan",
        "engine",
        "campaign",
        "results",
        "api",
        "cli",
    ],
}
"""The rooms of each package; each imports only what stands before it, and `screening` may import all of `cgcnn`."""


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package; a folder's `__init__` has the folder's name."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules among the known ones that a file imports, wherever in it and for whatever purpose."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known.keys() or {node.module}
    return (found & known.keys()) - {name}


def room(name: str) -> str:
    """The room of a module: `cgcnn.graphs.batch` is in `cgcnn.graphs`."""
    return ".".join(name.split(".")[:2])


def arrows() -> Counter[tuple[str, str]]:
    """How many imports lead from each room to each other one."""
    known = modules("cgcnn") | modules("screening")
    pairs = ((room(name), room(other)) for name, path in known.items() for other in imports(name, path, known))
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def draw(path: Path) -> None:
    """Draw the rooms, the lowest at the bottom, with an arrow for each pair of rooms that are joined."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # only the picture needs it

    figure = Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.add_subplot()
    place = {f"{package}.{name}": (x, y) for x, package in enumerate(ORDER) for y, name in enumerate(ORDER[package])}
    for (source, target), count in arrows().items():
        if source in place and target in place:
            (x, y), (u, v) = place[source], place[target]
            bend = 0.0 if x != u else (-0.35 if x == 0 else 0.35) * (1 if y - v > 1 else 0)
            style = {"arrowstyle": "-|>", "color": "#4878a8", "alpha": 0.55, "lw": 0.5 + 0.15 * count}
            style |= {"shrinkA": 22, "shrinkB": 22, "connectionstyle": f"arc3,rad={bend}"}
            axes.annotate("", (u, v), (x, y), arrowprops=style)
    for name, (x, y) in place.items():
        files = sum(room(other) == name for other in modules(name.split(".")[0]))
        label = name.split(".")[1] + (f"\n{files} files" if files > 1 else "")
        box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": "0.4"}
        axes.text(x, y, label, ha="center", va="center", fontsize=9, bbox=box)
    for x, package in enumerate(ORDER):
        axes.text(x, len(ORDER[package]), package, ha="center", weight="bold")
    axes.set(xlim=(-0.6, 1.6), ylim=(-0.7, max(map(len, ORDER.values())) + 0.4))
    axes.axis("off")
    from matplotlib import rc_context  # noqa: PLC0415

    with rc_context({"svg.hashsalt": "architecture", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(ROOT / "docs/architecture.svg")
