"""CIFs of which it is known what they are: symmetry stated in every way, and what a file says of its own content.

Where a file leaves a choice open, a refusal is right; where it does not, what is predicted must be what is predicted of
the same crystal with all its atoms written out.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random

import gemmi
import numpy as np
from fuzz_cases import CUBIC, Case

PREDICT = ("predict", "one.cif", "--model", "formation-energy", "--csv", "out.csv", "--workers", "1", "--no-cache")
ELEMENTS = ("Sr", "Ti", "O")
GROUPS = (
    1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15, 18, 19, 26, 29, 31, 33, 36, 38, 43, 47, 48, 50, 51, 55, 57, 59, 60, 61,
    62, 63, 64, 65, 68, 70, 71, 72, 74, 85, 86, 87, 88, 99, 123, 125, 126, 127, 129, 130, 136, 137, 139, 140, 141, 142,
    146, 148, 155, 160, 161, 164, 166, 167, 176, 186, 191, 194, 198, 201, 203, 205, 215, 216, 220, 221, 222, 224, 225,
    227, 228, 229, 230,
)  # fmt: skip
"""Numbers of space groups: the common ones, and those with a choice of origin or axes."""
HYDROGENS = "_atom_site_attached_hydrogens"
APART = 1.5
"""Å between atoms of a made-up crystal."""
MOST_ATOMS = 56


class Crystal:
    """A made-up crystal in a setting of a space group.

    Attributes:
        setting: As gemmi's tables have it.
        cell: Lengths, Å, and angles, degrees.
        atoms: Element and place of each atom of the asymmetric unit.
    """

    def __init__(self, rng: Random, setting: gemmi.SpaceGroup) -> None:
        self.setting = setting
        self.operations = list(setting.operations())
        while not self._made(rng):
            pass

    def _made(self, rng: Random) -> bool:
        shape = _shape(rng, self.setting)
        grid = list(product((0, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8), repeat=3))
        rng.shuffle(grid)
        self.atoms: list[tuple[str, tuple[float, float, float]]] = []
        taken = 0
        for place in grid:
            if len(self.atoms) == len(ELEMENTS):
                break
            orbit = len(self.orbit(place))
            if taken + orbit <= MOST_ATOMS:
                self.atoms.append((ELEMENTS[len(self.atoms)], place))
                taken += orbit
        if len(self.atoms) < len(ELEMENTS):
            return False
        volume = gemmi.UnitCell(*shape).volume
        scale = (18 * taken / volume) ** (1 / 3)
        self.cell = (*(round(length * scale, 3) for length in shape[:3]), *shape[3:])
        return self._nearest() > APART

    def orbit(self, place: tuple[float, float, float]) -> list[tuple[float, float, float]]:
        """All places of an atom in the cell."""
        found = (tuple(x % 1 for x in op.apply_to_xyz(list(place))) for op in self.operations)
        return sorted({tuple(round(x * 48) % 48 / 48 for x in xyz) for xyz in found})  # type: ignore[misc]

    def all_atoms(self) -> list[tuple[str, tuple[float, float, float]]]:
        """All atoms of the cell."""
        return [(element, place) for element, first in self.atoms for place in self.orbit(first)]

    def _nearest(self) -> float:
        places = np.array([place for _, place in self.all_atoms()])
        cell = np.array(gemmi.UnitCell(*self.cell).orth.mat.tolist())
        apart = (places[:, None] - places + 0.5) % 1 - 0.5
        distances = np.linalg.norm(apart @ cell.T, axis=2) + 99 * np.eye(len(places))
        return float(distances.min())


def _shape(rng: Random, setting: gemmi.SpaceGroup) -> tuple[float, ...]:
    """A cell that the crystal system allows."""
    a, b, c = 1.0, rng.uniform(1.05, 1.3), rng.uniform(0.75, 0.95)
    angle, rhombohedral = round(rng.uniform(95, 115), 2), rng.choice([57.0, 63.0, 84.0])
    unique = setting.qualifier.lstrip("-")[:1] or "b"
    shapes: dict[str, tuple[float, ...]] = {
        "cubic": (a, a, a, 90, 90, 90),
        "tetragonal": (a, a, c * 1.6, 90, 90, 90),
        "hexagonal": (a, a, 1.5 * b, 90, 90, 120),
        "orthorhombic": (a, b, c, 90, 90, 90),
        "monoclinic": (a, b, c, *(angle if axis == unique else 90 for axis in "abc")),
        "triclinic": (a, b, c, 80, 95, 105),
    }
    shapes["trigonal"] = (a, a, a, *[rhombohedral] * 3) if setting.ext == "R" else shapes["hexagonal"]
    return shapes[setting.crystal_system_str()]


def cif(crystal: Crystal, *, stated: str, atoms: list[tuple[str, tuple[float, float, float]]] | None = None) -> bytes:
    """A CIF with these statements on symmetry."""
    tags = ["length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"]
    lines = [
        "data_x",
        *(f"_cell_{tag} {value}" for tag, value in zip(tags, crystal.cell, strict=True)),
        stated,
        "loop_",
    ]
    lines += [f"_atom_site_{tag}" for tag in ["label", "type_symbol", "fract_x", "fract_y", "fract_z"]]
    for i, (element, place) in enumerate(atoms or crystal.atoms):
        lines.append(f"{element}{i} {element} {' '.join(f'{x:.6f}' for x in place)}")
    return ("\n".join(line for line in lines if line) + "\n").encode()


def _loop(operations: list[str], tag: str = "_symmetry_equiv_pos_as_xyz") -> str:
    return "\n".join(["loop_", tag, *(f"'{text}'" for text in operations)])


def symmetries(rng: Random) -> Iterator[Case]:
    """The same crystals with their symmetry stated in other ways."""
    settings = [setting for setting in gemmi.spacegroup_table() if setting.number in GROUPS]
    settings = [setting for setting in settings if setting.number > 2 or setting.hm == "P -1"]  # none that nobody uses
    rng.shuffle(settings)
    while True:
        for setting in settings:
            crystal = Crystal(rng, setting)
            plain = Case(
                "symmetry", f"{setting.xhm()} in P 1", "cgcnn", PREDICT,
                {"one.cif": cif(crystal, stated=_loop(["x,y,z"]), atoms=crystal.all_atoms())}, reads="predictions",
                needed=True,
            )  # fmt: skip
            for what, stated, clear in _ways(rng, setting, crystal):
                file: dict[str, bytes | str] = {"one.cif": cif(crystal, stated=stated)}
                common = Case("symmetry", f"{setting.xhm()}, {what}", "cgcnn", PREDICT, file, reads="predictions")
                yield replace(common, like=plain, needed=clear) if clear is not None else replace(common, refused=True)


def _ways(rng: Random, setting: gemmi.SpaceGroup, crystal: Crystal) -> Iterator[tuple[str, str, bool | None]]:
    """What is stated, in words and as CIF, and whether it must be read (None: it must not)."""
    settings = [other for other in gemmi.spacegroup_table() if other.number == setting.number]
    loop = [op.triplet() for op in crystal.operations]
    name = setting.hm
    yield "loop", _loop(loop), True
    new = rng.sample(loop[1:], len(loop) - 1)
    yield "loop in another order", _loop([loop[0], *new], "_space_group_symop_operation_xyz"), True
    yield "loop in capitals", _loop([text.upper().replace(",", " , ") for text in loop]), True
    yield "Hall", f"_space_group_name_Hall '{setting.hall}'", True
    twins = [other for other in settings if other.hm == name and other.hall != setting.hall]
    ambiguous = any({setting.ext, other.ext} != {"H", "R"} for other in twins)
    yield "extended name", f"_space_group_name_H-M_alt '{setting.xhm()}'", True
    for text in (f"'{name}'", f'"{name}"', f"'{name.upper()}'", f"'{name.replace(' ', '')}'", name.replace(" ", "_")):
        # two origins, or two sets of axes, that the name leaves open: the cell tells the axes, nothing tells the origin
        yield f"name {text}", f"_symmetry_space_group_name_H-M {text}", not ambiguous and text == f"'{name}'"
    # of settings that differ in their axes alone the cell tells which one it is
    open_number = len(settings) > 1 and {other.ext for other in settings} != {"H", "R"}
    wrong = open_number and not setting.is_reference_setting()
    yield "number", f"_symmetry_Int_Tables_number {setting.number}", None if wrong else not open_number
    yield "name and number", f"_symmetry_space_group_name_H-M '{name}'\n_space_group_IT_number {setting.number}", False
    yield "loop with a name of nobody", f"_symmetry_space_group_name_H-M 'F u n ny'\n{_loop(loop)}", False
    yield "only a name of nobody", f"_symmetry_space_group_name_H-M 'F u n ny {rng.randrange(99)}'", None
    yield "number that is none", f"_symmetry_Int_Tables_number {rng.choice([0, 231, -1, 'x'])}", None
    if len(loop) > 1:
        yield (
            "loop without one of its operations",
            _loop(loop[:-1]) + f"\n_symmetry_space_group_name_H-M '{name}'",
            False,
        )
        yield "P 1 in the loop against the name", _loop(["x,y,z"]) + f"\n_symmetry_space_group_name_H-M '{name}'", None
    others = [other for other in settings if other.hall != setting.hall]
    if others:
        other = rng.choice(others)
        if {op.triplet() for op in other.operations()} != set(loop):
            yield (
                f"Hall against the name {other.xhm()}",
                (f"_space_group_name_H-M_alt '{other.xhm()}'\n_space_group_name_Hall '{setting.hall}'"),
                None,
            )


def statements(rng: Random) -> Iterator[Case]:
    """SrTiO3 with what else a file may say: of its content, of its atoms, in its spelling."""
    plain = Case("statements", "plain", "cgcnn", PREDICT, {"one.cif": CUBIC.encode()}, reads="predictions", needed=True)
    yield plain
    for what, text in {**_good(), **_open()}.items():
        yield replace(plain, what=what, files={"one.cif": text}, like=plain, needed=what in _good())
    for what, text in _contradictory().items():
        yield replace(plain, what=what, files={"one.cif": text}, refused=True, needed=False)
    while True:
        what, changed, good = _drawn(rng)
        case = replace(plain, what=what, files={"one.cif": changed.encode()}, needed=False)
        yield replace(case, refused=True) if good is False else replace(case, like=plain, needed=good is True)


def _with(line: str, text: str = CUBIC) -> str:
    return text.replace("_cell_length_a", f"{line}\n_cell_length_a", 1)


def _good() -> dict[str, bytes]:
    """Files that are SrTiO3, however they are written."""
    bare = CUBIC.replace("_atom_site_type_symbol\n", "")
    for element in ("Sr", "Ti", "O"):
        bare = bare.replace(f" {element} ", " ")
    numbered = CUBIC.replace("loop_\n_symmetry", "loop_\n_symmetry_equiv_pos_site_id\n_symmetry")
    occupancy = "_atom_site_occupancy"
    mixed = CUBIC.replace("O3 O 0 0.5 0.5 1", "O3 O 0 0.5 0.5 1.0000(0)")
    texts = {
        "byte-order mark": "\ufeff" + CUBIC,
        "CRLF": CUBIC.replace("\n", "\r\n"),
        "CR": CUBIC.replace("\n", "\r"),
        "a line before data_": "Exported by a tool\n" + CUBIC,
        "comments": "# a\n" + CUBIC.replace("loop_", "# b\nloop_ # c"),
        "a tag twice": _with("_chemical_formula_sum 'Sr Ti O3'\n_chemical_formula_sum ''"),
        "a stray comma": _with("_citation_author_name 'A. N, and S. M',"),
        "tags in capitals": CUBIC.replace("_cell_length_a", "_CELL_LENGTH_A").replace("_atom_site", "_ATOM_SITE"),
        "P 1 without quotes": CUBIC.replace("'P 1'", "P 1"),
        "labels without types": bare,
        "SrA, TiB": bare.replace("Sr1", "SrA").replace("Ti1", "TiB"),
        "oxidation numbers": CUBIC.replace(" Sr ", " Sr2+ ").replace(" Ti ", " Ti4+ ").replace(" O ", " O2- "),
        "deviations": CUBIC.replace("0.5 0.5 0.5 1", "0.5000(2) 0.5000(2) 0.5000(2) 1").replace("3.905", "3.905(1)"),
        "an atom at 1 1 1 too": CUBIC + "Sr2 Sr 1 1 1 1\n",
        "atoms outside the cell": CUBIC.replace("0.5 0.5 0.5 1", "1.5 -0.5 2.5 1"),
        "the right formula": _with("_chemical_formula_sum 'O3 Sr Ti'\n_cell_formula_units_Z 1"),
        "a formula with blanks": _with("_chemical_formula_sum 'Sr1 Ti1 O3 '"),
        "occupancy as 1.0000(0)": mixed,
        "tabs": CUBIC.replace("O1 O 0.5 0.5 0 1", "O1\tO\t0.5\t0.5\t0\t1"),
        "all of it again in another block": CUBIC,
        "numbered operations": numbered.replace("'x,y,z'", "1 'x,y,z'"),
        "no attached hydrogens": CUBIC.replace(occupancy, f"{occupancy}\n{HYDROGENS}").replace(" 1\n", " 1 0\n"),
    }  # fmt: skip
    found = {what: text.encode() for what, text in texts.items()}
    return found | {"Latin-1 in a name": _with("_publ_author_name 'Müller'").encode("latin-1")}


def _open() -> dict[str, bytes]:
    """Files that may be refused, and must be SrTiO3 if they are not."""
    texts = {
        "decimal commas": CUBIC.replace("3.905", "3,905").replace("0.5", "0,5"),
        "fractions": CUBIC.replace("0.5", "1/2"),
        "no symmetry at all": CUBIC.replace(CUBIC[CUBIC.index("_symmetry") : CUBIC.index("loop_\n_atom")], ""),
        "lower case": CUBIC.replace(" Sr ", " sr ").replace(" Ti ", " TI "),
        "an atom again, 0.04 Å off": CUBIC + "Sr2 Sr 0.01 0 0 1\n",
        "dummy atoms": CUBIC + "Q1 . 0.2 0.2 0.2 0\n",
        "UTF-16": CUBIC,
    }  # fmt: skip
    return {what: text.encode("utf-16" if what == "UTF-16" else "utf-8") for what, text in texts.items()}


def _contradictory() -> dict[str, bytes]:
    """Files that contradict themselves, or leave out what they have."""
    hydrogens = CUBIC.replace("_atom_site_occupancy", f"_atom_site_occupancy\n{HYDROGENS}")
    attached = hydrogens.replace(" 0 1\n", " 0 1 1\n").replace(" 1\n", " 1 0\n").replace("1 1 0\n", "1 1\n")
    groups = CUBIC.replace("_atom_site_occupancy", "_atom_site_occupancy\n_atom_site_disorder_group")
    texts = {
        "another formula": _with("_chemical_formula_sum 'Sr2 Ti O4'"),
        "a formula with hydrogen": _with("_chemical_formula_sum 'Sr Ti O3 H2'"),
        "another Z": _with("_chemical_formula_sum 'Sr Ti O3'\n_cell_formula_units_Z 2"),
        "attached hydrogens": attached,
        "disorder groups": groups.replace(" 1\n", " 1 1\n").replace("0 0.5 0.5 1 1", "0 0.5 0.5 1 2"),
        "atoms 0.5 Å apart": CUBIC + "Sr2 Sr 0.13 0 0 1\n",
        "two elements on a spot": CUBIC + "Ba1 Ba 0 0 0 1\n",
        "a mixture as type": CUBIC.replace("Sr1 Sr", "M1 '0.8Sr + 0.2Ba'"),
        "two occupancies": CUBIC.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 0.8\nBa1 Ba 0 0 0 0.2"),
        "a type against its label, and no such element": CUBIC.replace("Sr1 Sr", "Sr1 Zz"),
    }  # fmt: skip
    return {what: text.encode() for what, text in texts.items()}


def _drawn(rng: Random) -> tuple[str, str, bool | None]:
    """A file drawn at random, and whether it is still SrTiO3; None if it may be, or be refused."""
    rows = CUBIC[CUBIC.index("Sr1 Sr") :].splitlines()
    how = rng.randrange(6)
    if how == 0:  # other rows, another origin
        shift = [rng.randrange(16) / 16 for _ in range(3)]
        moved = []
        for row in rng.sample(rows, len(rows)):
            label, element, *numbers, occupied = row.split()
            places = [f"{float(x) + dx + rng.choice([-1, 0, 0, 1]):.5f}" for x, dx in zip(numbers, shift, strict=True)]
            moved.append(" ".join([label, element, *places, occupied]))
        return "another origin", CUBIC[: CUBIC.index("Sr1 Sr")] + "\n".join(moved) + "\n", True
    if how == 1:  # a formula, right or wrong
        counts = {"Sr": 1, "Ti": 1, "O": 3}
        good, times = rng.random() < 0.5, rng.randrange(1, 5)
        if not good:
            counts[rng.choice(list(counts))] += rng.randrange(1, 4)
        sums = " ".join(f"{element}{times * n}" for element, n in rng.sample(sorted(counts.items()), 3))
        return f"formula {sums}", _with(f"_chemical_formula_sum '{sums}'"), good
    if how == 2:  # a copy of an atom, or another one near it
        step = rng.uniform(0.001, 0.02) if rng.random() < 0.5 else rng.uniform(0.05, 0.2)
        return (
            f"an atom again, {3.905 * step:.3f} Å off",
            CUBIC + f"Sr2 Sr {step:.4f} 0 0 1\n",
            None if step < 0.021 else False,
        )
    if how == 3:  # columns in another order
        return "columns in another order", _columns(rng), True
    if how == 4:
        atom = rng.choice(rows)
        less = f"{rng.uniform(0.05, 0.95):.3f}"
        return f"occupancy {less}", CUBIC.replace(atom, f"{atom[:-1]}{less}"), False
    spaces = "".join(line + rng.choice(["\n", " \n", "\n\n", "\n# x\n"]) for line in CUBIC.splitlines())
    return "blanks and comments", spaces, True


def _columns(rng: Random) -> str:
    tags = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv", "adp_type"]
    order = rng.sample(range(len(tags)), len(tags))
    rows = [[*row.split(), f"0.0{rng.randrange(99)}", "Uiso"] for row in CUBIC[CUBIC.index("Sr1 Sr") :].splitlines()]
    head = CUBIC[: CUBIC.index("_atom_site_label")]
    lines = [f"_atom_site_{tags[i]}" for i in order] + [" ".join(row[i] for i in order) for row in rows]
    return head + "\n".join(lines) + "\n"
