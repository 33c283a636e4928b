"""Tables and lists as people write them, of which it is known what they say: candidates, compounds, entries, labels."""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from fuzz_cases import CUBIC, Case

LIST = ("list", "l.csv", "--model", "mp", "--dry-run")
SIMPLE = (
    ("Sr", "Ti", "O"),
    ("Ba", "Zr", "O"),
    ("Cs", "Pb", "I"),
    ("La", "Al", "O"),
    ("K", "Nb", "O"),
    ("Na", "Ta", "O"),
)
DOUBLE = (("Cs", "Ag", "Bi", "Br"), ("Ba", "Mg", "W", "O"), ("Sr", "Fe", "Mo", "O"), ("Cs", "Na", "In", "Cl"))
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1")
HEADERS = {
    3: (
        ("A", "B", "X"), ("a", "b", "x"), ("A ", " B", " X"), ("element_A", "element_B", "element_X"),
        ("A-site", "B-site", "X-site"),
    ),
    4: (
        ("A", "B", "B'", "X"), ("A", "B1", "B2", "X"), ("a", "b", "b'", "x"), ("A", "B", "B\N{PRIME}", "X"),
        ("element_A", "element_B", "element_Bprime", "X"), ("A", "B'", "B''", "X"),
    ),
}  # fmt: skip
"""Headers as they are published; the first of each must be read, the others may be refused."""


def formula(row: tuple[str, ...]) -> str:
    """Of a candidate, as rankings have it."""
    return f"{row[0]}{row[1]}{row[2]}3" if len(row) == 3 else f"{row[0]}2{row[1]}{row[2]}{row[3]}6"


def written(
    rows: list[tuple[str, ...]], separator: str = ",", quoting: int = csv.QUOTE_MINIMAL, end: str = "\n"
) -> str:
    """A table as text."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue()


def _expected(rows: list[tuple[str, ...]], failed: int = 0) -> tuple[str, ...]:
    return (*sorted(map(formula, rows)), *["failed"] * failed)


def lists(rng: Random) -> Iterator[Case]:
    """Lists of candidates."""
    base = Case("table: list", "", "screen", LIST, reads="list")
    for what, text in WRONG.items():
        yield replace(base, what=what, files={"l.csv": text.encode()}, refused=True)
    for what, (text, rows, failed) in ROWS.items():
        yield replace(base, what=what, files={"l.csv": text.encode()}, reading=_expected(list(rows), failed))
    while True:
        pool = rng.choice([SIMPLE, DOUBLE])
        rows = rng.sample(pool, rng.randrange(1, 4))
        width = len(pool[0])
        header = rng.choice(HEADERS[width]) if rng.random() < 0.4 else HEADERS[width][0]
        separator = rng.choice(list(SEPARATORS)) if rng.random() < 0.4 else "comma"
        encoding = rng.choice(ENCODINGS) if rng.random() < 0.3 else "utf-8"
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        end = rng.choice(["\n", "\r\n", "\r"]) if rng.random() < 0.3 else "\n"
        quoting = csv.QUOTE_ALL if end == "\r" else quoting  # or line feeds in notes would end lines
        lines, plain = _further(rng, [header, *rows])
        lines, failed, damage = _damaged(rng, lines, width)
        text = written(lines, SEPARATORS[separator], quoting, end)
        if rng.random() < 0.2:
            text += rng.choice([end, end * 3, separator.join([""] * 1) + end])
        usual = (
            header == HEADERS[width][0] and separator == "comma" and encoding in {"utf-8", "utf-8-sig"} and end != "\r"
        )
        said = f"{','.join(header)}, {separator}, {encoding}, {damage or plain or 'plain'}"
        case = replace(base, what=said, files={"l.csv": text.encode(encoding, errors="replace")})
        good = [row for row in rows if row not in failed]
        yield replace(case, reading=_expected(good, len(rows) - len(good)), needed=usual and not damage and not plain)


def _further(rng: Random, lines: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], str]:
    """The table with a column of notes, which says nothing of the sites; and what is odd about it."""
    if rng.random() < 0.5:
        return lines, ""
    texts = ["", "x", "a, b", 'say "so"', "two\nlines", "é", "=1+1", "NaN", "None", "1,5", "; ;", "\t"]
    notes = [rng.choice(["note", "id", "source", "Name"]), *(rng.choice(texts) for _ in lines[1:])]
    front = rng.random() < 0.5
    odd = "" if all(text in {"", "x"} for text in notes[1:]) else "notes"
    return [(note, *line) if front else (*line, note) for note, line in zip(notes, lines, strict=True)], odd


def _damaged(
    rng: Random, lines: list[tuple[str, ...]], width: int
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]], str]:
    """The table with perhaps one row that is none; those rows, and what was done."""
    if rng.random() < 0.6 or len(lines[0]) > width:
        return lines, [], ""
    at = rng.randrange(1, len(lines))
    row = lines[at]
    how = rng.choice(
        ["cell too many", "cell too few", "element unknown", "cell empty", "row twice", "ditto", "blank row"]
    )
    changed = {
        "cell too many": [(*row, rng.choice(["Br", "x", "1"]))],
        "cell too few": [row[:-1]],
        "element unknown": [(rng.choice(["Xx", "J", "12", "Calciumm", "MA", "FA"]), *row[1:])],
        "cell empty": [("", *row[1:])],
        "row twice": [row, row],
        "ditto": [('"', *row[1:])],
        "blank row": [row, ("",) * width],
    }[how]
    bad = [] if how in {"row twice", "blank row"} else [row]
    if how == "row twice":
        return lines, [], ""
    return [*lines[:at], *changed, *lines[at + 1 :]], bad, how


WRONG = {
    "more cells than columns": "A,B,X\nCs,Ag,Bi,Br\n",
    "more cells in the second row": "A,B,X\nSr,Ti,O,N\n",
    "two columns of one name": "A,B,X,X\nSr,Ti,O,N\n",
    "two columns B": "A,B,B,X\nCs,Ag,Bi,Br\n",
    "no header": "Sr,Ti,O\nBa,Zr,O\n",
    "only a header": "A,B,X\n",
    "blanks": "\n\n\n",
    "JSON": '[{"A": "Sr", "B": "Ti", "X": "O"}]',
    "an open quote in the header": '"A,B,X\nSr,Ti,O\n',
    "NUL": "A,B,X\nSr,\x00,O\n",
    "formulas in a site column": "A,B,X\nSr,TiO3,O\n",
    "numbers": "A,B,X\n1.0,2.0,3.0\n",
    "a column too few for a double perovskite": "A,B',X\nCs,Bi,Br\n",
    "three sites B": "A,B,B',B'',X\nCs,Ag,Bi,In,Br\n",
}
ROWS: dict[str, tuple[str, tuple[tuple[str, ...], ...], int]] = {
    "an open quote": ('A,B,X\nSr,Ti,O\n"Ba,Zr,O\nK,Nb,O\nNa,Ta,O\n', SIMPLE[:1], 3),
    "an open quote in notes": ('A,B,X,note\nSr,Ti,O,5"\nBa,Zr,O,"x\nK,Nb,O,\n', (*SIMPLE[:2], SIMPLE[4]), 0),
    "a ditto mark": ('A,B,X\nSr,Ti,O\n",Zr,O\nK,Nb,O\n', (SIMPLE[0], SIMPLE[4]), 1),
    "empty tail": ("A,B,X\nSr,Ti,O\n,,\n,,\n", SIMPLE[:1], 0),
    "blanks in the tail": ("A,B,X\nSr,Ti,O\n \n  \n", SIMPLE[:1], 0),
    "trailing separators": ("A,B,X,,\nSr,Ti,O,,\n", SIMPLE[:1], 0),
    "lower case": ("A,B,X\nsr,ti,o\n", SIMPLE[:1], 0),
    "blanks around": ("A,B,X\n Sr , Ti , O \n", SIMPLE[:1], 0),
    "a comment line": ("# mine\nA,B,X\nSr,Ti,O\n", SIMPLE[:1], 0),
    "a line sep=": ("sep=;\nA;B;X\nSr;Ti;O\n", SIMPLE[:1], 0),
    "one of two is none": ("A,B,X\nSr,Ti,O\nXx,Zr,O\n", SIMPLE[:1], 1),
    "three X alike": ("A,B,X1,X2,X3\nSr,Ti,O,O,O\n", SIMPLE[:1], 0),
    "names of elements": ("A,B,X\nStrontium,Titanium,Oxygen\n", SIMPLE[:1], 0),
    "apostrophes of spreadsheets": ("A,B,X\n'Sr,'Ti,'O\n", SIMPLE[:1], 0),
    "no-break spaces": ("A,B,X\nSr\u00a0,Ti,O\n", SIMPLE[:1], 0),
}
"""What may be refused; if not, these must be read, and so many rows fail."""


KNOWN = ("rank", "R.zarr", "--known", "k.csv", "--format", "csv")
OF_RUN = ("SrTiO3", "BaTiO3", "SrZrO3", "BaZrO3", "LaAlO3")
"""What of the run `base` the cases of known compounds name; it has more."""
NEAR = (
    "SrTiO2.6", "SrTiO2.95", "Sr0.9TiO3", "La0.8Sr0.2MnO3", "Ba(Zr0.95Ti0.05)O3", "Sr(Ti0.5Zr0.5)O3", "Ba0.5Sr0.5TiO3",
    "SrTi0.98Nb0.02O3", "BaTiO2.5N0.5", "Sr0.999TiO3", "SrTiO3.01", "BaTiO3-x", "Sr1-xBaxTiO3",
)  # fmt: skip
"""Formulas that are no compound of the run, however near they come."""
OTHERS = ("NaCl", "TiO2", "Sr2TiO4", "Sr3Ti2O7", "SrTiO2", "BaTi2O5", "MgO", "CaTiO3", "H2O", "Ba2TiO4")
WRITTEN = (
    lambda f: f, lambda f: f.replace("O3", "O_3"), lambda f: f"{f[:2]}2{f[2:4]}2O6", lambda f: f"O3{f[:4]}",
    lambda f: f.replace("O3", "O3.0"), lambda f: f"{f[:2]} {f[2:4]} {f[4:]}", lambda f: f"({f[:4]})O3",
    lambda f: f"{f[2:4]}{f[:2]}O3",
    lambda f: f" {f} ", lambda f: f.replace("3", "₃"),
)  # fmt: skip
"""Ways to write a formula; what is not understood may be refused, never taken for another."""


def known(rng: Random) -> Iterator[Case]:
    """What a user has: nothing is marked but that."""
    base = Case("table: known", "", "screen", KNOWN, base="run", reads="known")
    for text in NEAR:
        rows = written([("formula",), (text,), ("SrTiO3",)])
        yield replace(base, what=text, files={"k.csv": rows.encode()}, reading=("SrTiO3",))
        yield replace(base, what=f"only {text}", files={"k.csv": written([("formula",), (text,)]).encode()}, reading=())
    partial = CUBIC.replace("Sr1 Sr 0 0 0 1", "Sr1 Sr 0 0 0 0.8\nBa1 Ba 0 0 0 0.2")
    crystal = replace(base, arguments=("rank", "R.zarr", "--known", "k.cif", "--format", "csv"))
    yield replace(crystal, what="a CIF", files={"k.cif": CUBIC.encode()}, reading=("SrTiO3",), needed=True)
    yield replace(crystal, what="a CIF with shared sites", files={"k.cif": partial.encode()}, reading=())
    while True:
        chosen = rng.sample(OF_RUN, rng.randrange(0, 4))
        others = rng.sample(OTHERS, rng.randrange(0 if chosen else 1, 4)) + (
            [rng.choice(NEAR)] if rng.random() < 0.4 else []
        )
        ways = [WRITTEN[0] if rng.random() < 0.6 else rng.choice(WRITTEN) for _ in chosen]
        names = [way(name) for way, name in zip(ways, chosen, strict=True)] + others
        rng.shuffle(names)
        header = rng.choice(["formula", "formula_pretty", "pretty_formula", "composition"])
        separator = rng.choice(list(SEPARATORS)) if rng.random() < 0.2 else "comma"
        lines = [(header, "id"), *((name, f"m-{i}") for i, name in enumerate(names))]
        content = written(lines, SEPARATORS[separator]).encode()
        line = KNOWN
        if rng.random() < 0.25 and separator == "comma":
            content, line = json.dumps([dict(zip(lines[0], row, strict=True)) for row in lines[1:]]).encode(), (
                "rank", "R.zarr", "--known", "k.json", "--format", "csv",
            )  # fmt: skip
        clear = separator == "comma" and all(way is WRITTEN[0] for way in ways) and not set(others) & set(NEAR)
        yield replace(
            base, what=f"{header}: {' '.join(names)}"[:70], arguments=line, files={line[3]: content},
            reading=tuple(sorted(chosen)), needed=clear,
        )  # fmt: skip


Entry = dict[str, Any]

GGA = {"Sr": -1.69, "Ti": -7.90, "O": -4.95, "Ba": -1.92, "Zr": -8.55}
OTHER = {"Sr": -15.12, "Ti": -21.34, "O": -6.03, "Ba": -23.9, "Zr": -32.1}
COMPOUNDS: list[tuple[dict[str, int], float, float]] = [
    ({"Sr": 1, "Ti": 1, "O": 3}, -3.551, -2.061),
    ({"Sr": 1, "O": 1}, -3.044, -0.687),
    ({"Ti": 1, "O": 2}, -3.493, -1.374),
    ({"Sr": 2, "Ti": 1, "O": 4}, -3.46, -2.748),
    ({"Ba": 1, "O": 1}, -2.83, -0.687),
]
"""Composition, formation energy in eV/atom, and the correction of a unit, eV, that is in it."""
HULL = ("rank", "H.zarr", "--competing-phases", "e.json", "--format", "csv")


def entry(composition: dict[str, int], formation: float, zero: dict[str, float], run: str, correction: float) -> Entry:
    """An entry as pymatgen writes it."""
    atoms = sum(composition.values())
    energy = sum(zero[symbol] * n for symbol, n in composition.items()) + formation * atoms - correction
    return {
        "@module": "pymatgen.entries.computed_entries", "@class": "ComputedEntry", "composition": composition,
        "energy": energy, "correction": correction, "energy_adjustments": [], "parameters": {"run_type": run},
        "data": {}, "entry_id": f"e-{abs(hash(energy)) % 999}",
    }  # fmt: skip


def _entries(zero: dict[str, float], run: str) -> list[Entry]:
    elements = [entry({symbol: 1}, 0.0, zero, run, 0.0) for symbol in ("Sr", "Ti", "O", "Ba")]
    return elements + [entry(units, formation, zero, run, less) for units, formation, less in COMPOUNDS]


def entries(rng: Random) -> Iterator[Case]:
    """Competing phases: the distance of SrTiO3 is that of the plain file, or the file is refused or warned of."""
    good = _entries(GGA, "GGA")
    plain = Case(
        "entries",
        "plain",
        "screen",
        HULL,
        {"e.json": json.dumps(good).encode()},
        base="hull",
        reads="hull",
        needed=True,
    )
    yield plain
    while True:
        found: list[Entry] = json.loads(json.dumps(good))
        what, content, clear = _same_entries(rng, found)
        yield replace(plain, what=what, files={"e.json": content}, like=plain, needed=clear)
        what, mixed = _mixed_entries(rng, json.loads(json.dumps(good)))
        text = json.dumps(mixed).encode()
        yield replace(plain, what=what, files={"e.json": text}, refused=True, warned=True, needed=False)


def _same_entries(rng: Random, found: list[Entry]) -> tuple[str, bytes, bool]:
    """The same phases in another form, and whether that must be read."""
    rng.shuffle(found)
    plain, times = json.dumps(found).encode(), rng.randrange(2, 9)
    odd = {**found[0], "composition": rng.choice([{"D": 2, "O": 1}, {"X0+": 1}, {"Xx": 1}, {}]), "energy": 0.0}
    larger = [
        {
            **one,
            "composition": {symbol: n * times for symbol, n in one["composition"].items()},
            "energy": one["energy"] * times,
            "correction": one["correction"] * times,
        }
        for one in found
    ]
    charged = [
        {
            **one,
            "composition": {f"{symbol}{rng.choice(['', '0+', '2+'])}": n for symbol, n in one["composition"].items()},
        }
        for one in found
    ]
    return rng.choice(
        [
            ("in another order", plain, True),
            ("gzip", gzip.compress(plain, mtime=0), True),
            ("an object of entries", json.dumps({"entries": found}).encode(), True),
            (
                "other zeros",
                json.dumps(_entries({symbol: rng.uniform(-9, 9) for symbol in GGA}, "GGA")).encode(),
                False,
            ),
            (f"cells {times} times as large", json.dumps(larger).encode(), True),
            (f"one odd entry {odd['composition']}", json.dumps([*found, odd]).encode(), False),
            ("oxidation states", json.dumps(charged).encode(), False),
            ("JSON Lines", "\n".join(map(json.dumps, found)).encode(), False),
        ]
    )


def _mixed_entries(rng: Random, found: list[Entry]) -> tuple[str, list[Any]]:
    """Phases of two scales in one file, or of none that fits; of the elements that matter."""
    other, element = _entries(OTHER, "r2SCAN"), rng.choice(["Sr", "Ti", "O"])
    at = rng.choice([i for i, one in enumerate(found) if "Ba" not in one["composition"]])
    energy = rng.choice([float("nan"), float("inf"), None, "x", [1], 1e300, -1e300])
    units = {"Sr": rng.choice([1e22, 10**22, -1, float("nan"), "x", None]), "O": 1}
    nothing: list[Any] = [{}, [], None, 1, "x", {"energy": 1}]
    return rng.choice(
        [
            ("elements of r2SCAN too", found + rng.sample(other[:3], rng.randrange(1, 4))),
            ("compounds of r2SCAN too", found + rng.sample(other[4:7], rng.randrange(1, 4))),
            ("uncorrected", [{**one, "correction": 0.0} for one in found]),
            (
                "energies per atom",
                [{**one, "energy": one["energy"] / sum(one["composition"].values())} for one in found],
            ),
            (f"{element} missing", [one for one in found if one["composition"] != {element: 1}]),
            (f"an energy {energy}", [{**one, "energy": energy} if i == at else one for i, one in enumerate(found)]),
            (f"a composition {units}", [*found[:at], {**found[at], "composition": units}, *found[at + 1 :]]),
            ("nothing", [rng.choice(nothing)]),
        ]
    )


STATES = (
    "perovskites",
    "--a",
    "Sr,La",
    "--b",
    "Ti,Fe",
    "--x",
    "O",
    "--filter",
    "charge",
    "--dry-run",
    "--oxidation-states",
    "s.csv",
)
"""Of Sr and La with Ti and Fe: whichever states the file gives decides which two to four balance."""


def states(rng: Random) -> Iterator[Case]:
    """Oxidation states: none is lost."""
    base = Case("table: states", "", "screen", STATES, reads="ledger")
    while True:
        given = {
            "Sr": [2],
            "La": [3],
            "Ti": rng.sample([2, 3, 4], rng.randrange(1, 4)),
            "Fe": rng.sample([2, 3, 4], rng.randrange(1, 3)),
        }
        rows = [(symbol, str(state)) for symbol, charges in given.items() for state in charges]
        rng.shuffle(rows)
        ok = sum(
            a + b == 6
            for a, bs in ((2, given["Ti"]), (2, given["Fe"]), (3, given["Ti"]), (3, given["Fe"]))
            for b in {*bs}
            if a + b == 6
        )
        lines: list[tuple[str, ...]] = [("element", "state"), *rows]
        clear, what, separator = True, "plain", "comma"
        how = rng.randrange(6)
        if how == 0:
            symbol = rng.choice(["Ti", "Fe"])
            lines = [line for line in lines if line[0] != symbol] + [(symbol, *map(str, given[symbol]))]
            clear, what = len(given[symbol]) == 1, "several states in a line"
        elif how == 1:
            lines = [
                (line[0], rng.choice(["+{}", "{}+", "{}.0", " {} "]).format(line[1]) if line[1].isdigit() else line[1])
                for line in lines
            ]
            clear, what = False, "signs"
        elif how == 2:
            separator, clear, what = rng.choice(["semicolon", "tab"]), False, "separator"
        elif how == 3:
            lines = [
                *lines,
                rng.choice(
                    [("Zz", "2"), ("Ti", "x"), ("Ti", ""), ("Ti", "²"), ("Ti", "9" * 30), ("", "3"), ("Ti", "-4")]
                ),
            ]
            yield replace(base, what=f"a row {lines[-1]}"[:60], files={"s.csv": written(lines).encode()}, refused=True)
            continue
        elif how == 4:
            lines, clear, what = [(a.lower(), b) for a, b in lines], False, "lower case"
        content = written(lines, SEPARATORS[separator]).encode()
        yield replace(
            base, what=f"{what}: {lines[1:]}"[:70], files={"s.csv": content}, reading=(f"ok {ok}",), needed=clear
        )


EVALUATE = ("evaluate", ".", "--model", "formation-energy", "--workers", "1", "--no-cache")


def labels(rng: Random) -> Iterator[Case]:
    """Labels of the published code's `id_prop.csv`: all of them count, or the file is refused."""
    base = Case("table: labels", "", "cgcnn", EVALUATE, reads="evaluated")
    while True:
        names = [f"c{i}" for i in range(rng.randrange(2, 5))]
        files: dict[str, bytes | str] = {
            f"{name}.cif": CUBIC.replace("3.905", f"{3.9 + i / 50:.3f}").encode() for i, name in enumerate(names)
        }
        rows = [(name, f"{rng.uniform(-3, 1):.3f}") for name in names]
        how, clear, separator, bad = rng.randrange(9), True, ",", 0
        what = "plain"
        if how == 0:
            rows, what = [("id", "target"), *rows], "header"
        elif how == 1:
            separator, clear, what = rng.choice([";", "\t", " "]), False, "separator"
        elif how == 2:
            rows, clear, what = (
                [(rng.choice([f"{name}.cif", f"{name}.CIF"]), value) for name, value in rows],
                False,
                "suffix",
            )
        elif how == 3:
            rows[0], clear, what, bad = (
                (rows[0][0], rng.choice(["", "x", "n/a"])),
                False,
                "a first row without a number",
                1,
            )
        elif how == 4:
            rows[0], clear, what, bad = ("gone", rows[0][1]), False, "a first row without a file", 1
        elif how == 5:
            rows[-1], clear, what, bad = (
                (rows[-1][0], rng.choice(["inf", "1e39", "-inf", "nan"])),
                False,
                "a label that is none",
                1,
            )
        elif how == 6:
            rows, clear, what = [*rows, rows[0]], False, "one id twice"
        elif how == 7:
            files[f"{names[0]}.cif"], clear, what, bad = b"data_x\n", False, "a broken crystal", 1
        table = written(rows, separator)
        files["id_prop.csv"] = table.encode(rng.choice(["utf-8", "utf-8-sig"]))
        lost = (
            () if any(value in {"", "nan"} for _, value in rows) else ("failed",) * bad
        )  # without a label, nothing failed
        right = None if how == 6 else (*["crystal"] * (len(names) - bad), *lost)
        yield replace(base, what=f"{what}, {rows[0]}"[:60], files=files, reading=right, needed=clear)
