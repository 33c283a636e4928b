"""Write the figures of the shipped models' cards into the pages that quote them, between `<!-- card … -->` marks.

python docs/cards.py          # after training a model again; a test fails until you do
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cgcnn.models.card import Calibration, Card, read_card

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "paper.md", "docs/errors.md")
LEVELS = (0.5, 0.8, 0.9, 0.95)
UNSEEN = re.compile(", (each )?by an ensemble fitted without it$")
ERRORS = {
    "MAE, eV/atom": ("MAE", "e_above_hull"),
    "cubic": ("MAE", "e_above_hull_cubic"),
    "recall": ("recall of at most 0.05 eV/atom", "e_above_hull"),
    "precision": ("precision of at most 0.05 eV/atom", "e_above_hull"),
    "tilted, AUC": ("AUC", "p_tilted"),
    "gap, MAE, eV": ("MAE", "band_gap"),
    "gap or none, AUC": ("AUC of more than 0 eV", "band_gap"),
}
SINGLE, DOUBLE = "cubic-perovskite rows of", "double-perovskite rows of"


def fill(page: str) -> str:
    """Fill the marked blocks of a page with the current figures of the cards."""
    return re.sub(r"(<!-- card (\w+) -->\n).*?(<!-- end -->)", _block, page, flags=re.DOTALL)


def _block(found: re.Match[str]) -> str:
    start, name, end = found.groups()
    return f"{start}{BLOCKS[name]()}{end}"


def accuracy() -> str:
    """Tabulate the errors of the screening models on candidates that they had not seen."""
    mp, castelli = read_card("mp"), read_card("castelli")
    both = {
        target: " / ".join(_error(mp, target, part) for part in (SINGLE, DOUBLE))
        for target in ("e_above_hull", "e_above_hull_cubic", "a")
    }
    return (
        "| model | candidates | zero is | MAE of the energy above hull | of *a* |\n| --- | --- | --- | --: | --: |\n"
        "| `mp` (default) | ABX3 / A2BB'X6, the lowest polymorph, tilted or not | Materials Project's hull | "
        f"{both['e_above_hull']} eV/atom | {both['a']} Å |\n"
        f"| | their cubic crystals | | {both['e_above_hull_cubic']} eV/atom | |\n"
        "| `castelli` | cubic ABX3, O, N, S and F mixed on X | the hull of Castelli et al. 2012 | "
        f"{_error(castelli, 'e_above_hull')} eV/atom | {_error(castelli, 'a')} Å |\n"
    )


def example() -> str:
    """Run the README's screen on a terminal of 80 columns and keep its first and last rows."""
    (elements,) = set(re.findall(r"bin/screen perovskites --elements (\S+)", (ROOT / "README.md").read_text("utf-8")))
    command = [sys.executable, "-m", "screening", "perovskites", "--elements", elements, "--out", "R.zarr"]
    lines = [line.rstrip() for line in _on_a_terminal(command).splitlines()]
    return "\n".join(["```", *lines[:4], "   ...", *lines[-2:], "```"]) + "\n"


def _on_a_terminal(command: list[str]) -> str:
    """Capture what a command prints on a terminal of 80 columns without colours."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    surroundings = os.environ | {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": path}
    ours, its = os.openpty()
    with TemporaryDirectory() as folder, os.fdopen(ours, encoding="utf-8", newline="\n") as terminal:
        subprocess.run(
            command, cwd=folder, env=surroundings, stdout=its, stderr=subprocess.DEVNULL, check=True, timeout=100
        )
        os.set_blocking(ours, False)
        text = terminal.read(65536)
        os.close(its)
    return text


def errors() -> str:
    """Tabulate the errors of the screening models, a line for each part of the rows measured."""
    lines = ["| model | on | " + " | ".join(ERRORS), "| --- | --- |" + " --: |" * len(ERRORS)]
    for card in map(read_card, ("mp", "castelli", "mp-structures")):
        for part in dict.fromkeys(metric.split for metric in card.metrics):
            of = {(metric.metric, metric.target): metric.value for metric in card.metrics if metric.split == part}
            shown = [f"{of[key]:.3f}" if key in of else "" for key in ERRORS.values()]
            if any(shown):
                lines.append(f"| `{card.name}` | {UNSEEN.sub('', part)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def intervals() -> str:
    """Tabulate how often labels lay inside the intervals that the deviations promise."""
    head = "| model | " + " | ".join(f"{100 * level:g} %" for level in LEVELS)
    lines = [f"{head} | 90 %, element by element |", "| --- |" + " --: |" * (len(LEVELS) + 1)]
    for card in map(read_card, ("mp", "castelli", "mp-structures")):
        (of,) = (one for one in card.calibrations if one.target == "e_above_hull")
        held = " | ".join(f"{100 * of.held[level]:.0f} %" for level in LEVELS)
        lines.append(f"| `{card.name}` | {held} | {_by_element(of)} |")
    return "\n".join(lines) + "\n"


def weaknesses() -> str:
    """List what the cards warn of."""
    return "".join(
        f"\n`{card.name}`:\n\n" + "".join(f"- {text}\n" for text in card.weaknesses)
        for card in map(read_card, ("mp", "castelli", "mp-structures"))
    )


BLOCKS = {name.__name__: name for name in (accuracy, errors, example, intervals, weaknesses)}


def _error(card: Card, target: str, part: str = "") -> str:
    found = [one.value for one in card.metrics if (one.metric, one.target) == ("MAE", target) and part in one.split]
    return f"{found[0]:.3f}"


def _by_element(of: Calibration) -> str:
    return f"{100 * of.by_element[0]:.0f} to {100 * of.by_element[1]:.0f} %" if of.by_element else ""


if __name__ == "__main__":
    for page in map(ROOT.joinpath, PAGES):
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
