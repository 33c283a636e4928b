"""Where compounds of the literature rank: `python benchmarks/literature.py [PAGE.md]`.

Screens the shipped campaigns and a space of halide perovskites in this process, by the shipped models, and prints
Markdown tables; with a page, puts them between its marks instead. A rank counts the candidates that passed the
campaign's filters; shares are of these, and of all that the campaign enumerates.
"""

from __future__ import annotations

import math
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import screening
from cgcnn.files import recipes
from screening.chemistry.oxidation import USUAL
from screening.plan import make_plan
from screening.recipe import make_recipe

if TYPE_CHECKING:
    import pandas as pd

BEGIN, END = "<!-- literature: begin -->", "<!-- literature: end -->"

HALIDES = {
    "kind": "perovskites",
    "elements": "K,Rb,Cs,Ge,Sn,Pb,F,Cl,Br,I",
    "filters": ("charge", "sites", "redox", "tau=4.8"),
}
"""Halide perovskites, which are in no shipped campaign, by the default filters."""

COMPOUNDS = {
    "halide-doubles": "Cs2AgInCl6 Cs2AgBiCl6 Cs2NaBiCl6 Cs2AgBiBr6 Cs2NaInCl6 Cs2AgSbCl6 Cs2NaYCl6 Cs2LiYCl6 "
    "Cs2AgInBr6 Rb2AgInCl6 Rb2AgBiCl6 Rb2NaBiCl6 Rb2NaInCl6",
    "oxide-doubles": "Sr2FeMoO6 Sr2CrReO6 Ba2MgWO6 Ba2YNbO6 Ba2YSbO6 La2NiMnO6 La2CoMnO6 Ba2BiSbO6 Sr2MgMoO6 Ba2NaOsO6 "
    "Ba2YIrO6",
    "castelli-oxides": "SrTiO3 BaTiO3 NaTaO3 KTaO3 KNbO3 BaZrO3 CaTiO3 SrVO3 LaAlO3 LaFeO3 LaCrO3 PbTiO3",
    "castelli-grid": "KMgF3 KTaO3 SrTiO3 BaTaO2N LaTiO2N KZnF3 BaZrS3 LaAlO3",
    "oxynitrides": "SrTaO2N BaTaO2N LaTiO2N CaTaO2N BaNbO2N SrNbO2N LaTaON2 CaNbO2N LaZrO2N",
    "tilted-oxides": "CaTiO3 LaFeO3 NdFeO3 GdFeO3 LaCrO3 YAlO3 CaZrO3 SrZrO3 LaCoO3 LaMnO3 NdNiO3",
    "halides": "CsPbI3 CsPbBr3 CsPbCl3 CsSnI3 CsSnBr3 CsSnCl3 CsGeI3 CsGeCl3 RbPbI3 RbGeI3 KPbI3",
}
"""Shipped recipe, or `HALIDES` → compounds that were made, or that calculations propose."""

BETTER = 6
"""Neighbours with better DFT values that are named at most."""


def main(page: Path | None) -> None:
    """Print the tables, or put them into a page."""
    text = "\n\n".join(part for name in COMPOUNDS for part in sections(name))
    if page is None:
        print(text)
        return
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page}: has no marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def sections(name: str) -> list[str]:
    """The title, the table and the remarks of one space."""
    compounds = tuple(COMPOUNDS[name].split())
    told = HALIDES if name == "halides" else tomllib.loads(recipes()[name].read_text(encoding="utf-8"))
    told = {key: value for key, value in told.items() if key not in {"summary", "out"}}
    plan = make_plan(make_recipe(**told))
    ranked, size = screening.score(**told), plan.candidates.count
    sort = told.get("sort", "e_above_hull")
    unusual = int((ranked.head(100)["state_reluctance"] > USUAL).sum())
    title = (
        f"**`{name}`** by `{plan.model.name}`, ranked by `{sort}`: {len(ranked):,} of {size:,} pass the filters; "
        f"{unusual} of the first 100 have a state that is unusual (reluctance above {USUAL:g})."
    )
    return [
        title,
        table(ranked, compounds, size),
        *(remarks(ranked, compounds, size) if name == "halide-doubles" else []),
    ]


def table(ranked: pd.DataFrame, compounds: tuple[str, ...], size: int) -> str:
    """Where each compound stands, as Markdown; absent ones last."""
    lines = [
        "| compound | rank | of those kept | of all | E (eV/atom) | P | DFT | row |",
        "| --- | --: | --: | --: | --: | --: | --: | --- |",
    ]
    found = ranked[ranked["formula"].map(is_one_of(compounds))]
    for rank, row in found.iterrows():
        place = int(str(rank))
        known = (
            "" if row["known_e_above_hull"] != row["known_e_above_hull"] else f"{row['known_e_above_hull']:.3f}"
        )  # NaN
        lines.append(
            f"| {row['formula']} | {place} | {100 * place / len(ranked):.1f} % | {100 * place / size:.2f} % | "
            f"{row['e_above_hull']:.3f} ± {row['e_above_hull_std']:.3f} | {row['p_stable']:.3f} | "
            f"{'≤ ' if row['known_is_bound'] and known else ''}{known} | {row['known_id']} |"
        )
    lost = [formula for formula in compounds if not found["formula"].map(is_one_of((formula,))).any()]
    return "\n".join(lines) + (f"\n\nLeft out by its filters, or not in its space: {', '.join(lost)}." if lost else "")


def remarks(ranked: pd.DataFrame, compounds: tuple[str, ...], size: int) -> list[str]:
    """For each compound beyond the first hundredth of all, what was computed of those before it."""
    texts = []
    for rank, row in ranked[ranked["formula"].map(is_one_of(compounds))].iterrows():
        place, own = int(str(rank)), row["known_e_above_hull"]
        if place <= size / 100 or math.isnan(own):
            continue
        before = ranked.head(place - 1)
        known = before[before["known_e_above_hull"].notna()]
        better = known[known["known_e_above_hull"] < own]
        equal = int((known["known_e_above_hull"] == own).sum())
        names = ", ".join(f"{r['formula']} ({r['known_e_above_hull']:.3f})" for _, r in better.head(BETTER).iterrows())
        texts.append(
            f"- {row['formula']}, DFT {own:.3f}: {len(known)} of the {place - 1} before it were computed, "
            f"{len(better)} of them lie lower by DFT{f', such as {names}' if names else ''}, {equal} at the same value."
        )
    return ["\n".join(texts)] if texts else []


def is_one_of(formulas: tuple[str, ...]) -> Any:
    """Whether a formula is one of these, whatever the order of its elements."""
    from pymatgen.core.composition import Composition  # heavy

    wanted = {Composition(formula) for formula in formulas}
    return lambda formula: Composition(formula) in wanted


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
