"""Entries of competing phases: forms of files, and energies that do not belong together."""

import bz2
import gzip
import json
import lzma

import pytest
from monty.serialization import dumpfn
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry, GibbsComputedStructureEntry

from cgcnn.data import limits
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from screening.chemistry import entries as reading
from screening.chemistry.competing import count_atoms, read_phases

ZERO = {"Sr": -1.69, "Ti": -7.90, "O": -4.95}  # eV/atom
R2SCAN = {"Sr": -15.12, "Ti": -21.34, "O": -6.03}
FORMATION = {"SrTiO3": -3.55, "SrO": -3.06, "TiO2": -3.49}  # eV/atom
ATOMS = {"SrTiO3": {"Sr": 1, "Ti": 1, "O": 3}, "SrO": {"Sr": 1, "O": 1}, "TiO2": {"Ti": 1, "O": 2}}
SRTIO3 = count_atoms(SYMBOLS.index(symbol) for symbol in ("Sr", "Ti", "O", "O", "O"))
OXIDE = -0.687


def entry(composition, formation=0.0, zero=ZERO, *, run="GGA", cells=1, correct=True, **further):  # noqa: PLR0913
    composition = {symbol: cells * amount for symbol, amount in composition.items()}
    atoms = sum(composition.values())
    total = sum(zero[symbol] * amount for symbol, amount in composition.items()) + formation * atoms
    parts = []
    if correct and len(composition) > 1:
        parts = [{"@module": "pymatgen.core.entries", "@class": "CompositionEnergyAdjustment",
                  "adj_per_atom": OXIDE, "n_atoms": composition["O"],
                  "name": "MP2020 anion correction (oxide)"}]  # fmt: skip
    correction = OXIDE * composition.get("O", 0) if parts else 0.0
    return {
        "@class": "ComputedEntry", "composition": composition, "energy": total - correction, "correction": correction,
        "energy_adjustments": parts, "parameters": {"run_type": run} if run else {}, **further,
    }  # fmt: skip


def elements(zero=ZERO, run="GGA"):
    return [entry({symbol: 1}, zero=zero, run=run, cells=2) for symbol in zero]


def compounds(run="GGA", **further):
    return [entry(ATOMS[name], FORMATION[name], run=run, cells=2, **further) for name in FORMATION]


def good(run="GGA"):
    return [*elements(run=run), *compounds(run)]


def without_corrections(entries):
    """The same energies from codes that do not say what they corrected."""
    return [
        {"composition": e["composition"], "energy": e["energy"] + e["correction"], "entry_id": f"my-{i}"}
        for i, e in enumerate(entries)
    ]


def write(folder, entries, name="entries.json"):
    (folder / name).write_text(json.dumps(entries))
    return folder / name


def r2scan(name, run="r2SCAN"):
    return entry(ATOMS[name], FORMATION[name] + 0.1, R2SCAN, run=run, correct=False)


def doubled(e):
    return {**e, "energy_adjustments": 2 * e["energy_adjustments"], "correction": 2 * e["correction"]}


def legacy(e):
    parts = [{"@class": "ConstantEnergyAdjustment", "value": e["correction"], "name": "MP Anion Correction"}]
    return {**e, "energy_adjustments": parts if e["correction"] else []}


def mixing(e):
    part = {"@class": "ConstantEnergyAdjustment", "value": -47.3, "name": "MP GGA(+U)/r2SCAN mixing adjustment"}
    return {**e, "energy_adjustments": [*e["energy_adjustments"], part], "correction": e["correction"] - 47.3}


def per_atom(e, *, whole=False):
    atoms = sum(e["composition"].values())
    return {**e, "energy": (e["energy"] + e["correction"] * (not whole)) / atoms, "correction": e["correction"] * whole,
            "energy_adjustments": e["energy_adjustments"] if whole else []}  # fmt: skip


def thermo(name, kind, shift=0.0):
    energy = FORMATION[name] + shift + sum(ZERO[s] * n for s, n in ATOMS[name].items()) / sum(ATOMS[name].values())
    return {"composition": ATOMS[name], "thermo_type": kind, "energy_per_atom": energy, "material_id": "mp-1",
            "uncorrected_energy_per_atom": energy + 0.4, "entries": {"GGA": {}}}  # fmt: skip


MIXED = {
    "r2scan-elements": (lambda: [*good(), *elements(R2SCAN, "r2SCAN")[1:]], "different functionals do not mix"),
    "r2scan-elements-unsaid": (lambda: without_corrections([*good(), *elements(R2SCAN)[1:]]), "look at those of"),
    "r2scan-compounds": (lambda: [*good(), r2scan("SrTiO3")], "GGA 6, r2SCAN 1"),
    "r2scan-compounds-unsaid": (lambda: without_corrections([*good(), r2scan("SrTiO3", "")]), "impossible formation"),
    "r2scan-by-id": (lambda: [*good(""), {**r2scan("SrTiO3", ""), "entry_id": "mp-1-GGA"}, {**r2scan("TiO2", ""),
                     "entry_id": "mp-2-R2SCAN"}], "GGA 1, r2SCAN 1"),
    "mixed-hull": (lambda: [*elements(), mixing(compounds()[0])], "mixed hull.*thermo_types"),
    "mixed-hull-documents": (lambda: [*elements(), thermo("SrTiO3", "GGA_GGA+U_R2SCAN")], "mixed hull"),
    "two-hulls-of-documents": (lambda: [thermo("SrO", "GGA_GGA+U"), thermo("SrO", "R2SCAN")], "GGA 1, r2SCAN 1"),
    "half-corrected": (lambda: [*good()[:-1], *compounds(correct=False)[-1:]], "2 compounds with O have.* 1 have none"),
    "legacy-and-2020": (lambda: [*good(), legacy(compounds()[0])], "different kinds.*MP2020 3, legacy 1"),
    "uncorrected-hubbard": (lambda: [*elements(), *compounds(correct=False)[1:],
                            *compounds("GGA+U", correct=False)[:1]], "1 entries are of GGA.U, others are not"),
    "twice": (lambda: [*elements(), *map(doubled, compounds())], "applied twice"),
    "twice-unsaid": (lambda: [*elements(), {**doubled(compounds()[0]), "energy_adjustments": []}], "too large"),
    "two-corrections": (lambda: [*elements(), {**compounds()[0], "correction": -9.0}], "corrections that differ"),
    "per-atom": (lambda: list(map(per_atom, good())), "energies per atom"),
    "per-atom-corrected": (lambda: [per_atom(e, whole=True) for e in good()], "energies per atom"),
    "compounds-per-atom": (lambda: [*elements(), *map(per_atom, compounds(correct=False))], "energies per atom"),
    "one-per-atom": (lambda: [*elements(), *compounds(correct=False)[1:], per_atom(compounds(correct=False)[0])],
                     "1 of 3 compounds seem to have energies per atom"),
    "sizes": (lambda: [*elements(), *({**entry({"Sr": 1}, cells=n), "energy": -3.4} for n in (1, 4))],
              "different sizes have the same energy"),
    "formation-energies-per-atom": (lambda: [{"composition": {s: 1}, "energy": 0} for s in ZERO]
                                    + [{"composition": ATOMS[n], "energy": FORMATION[n]} for n in ATOMS], "per atom"),
    "wrong-reference": (lambda: without_corrections([*entries_with_atom("O", -1.5)]), "look at those of O"),
}  # fmt: skip


def entries_with_atom(symbol, energy):
    """As if the element had been calculated as a single atom."""
    return [e if set(e["composition"]) != {symbol} else {**e, "energy": 2 * energy} for e in good()]


def test_entries_of_one_kind_give_the_distance(tmp_path):
    phases = read_phases(write(tmp_path, good()))
    assert phases.distance(SRTIO3, -3.52).energy == pytest.approx(0.03)
    assert phases.source.notes == ()
    assert phases.compare_known() == []
    assert "6 entries (GGA 6, corrections: MP2020)" in str(phases.source)


@pytest.mark.parametrize("kind", MIXED)
def test_energies_that_do_not_belong_together_are_refused(tmp_path, kind):
    make, said = MIXED[kind]
    with pytest.raises(UserError, match=said):
        read_phases(write(tmp_path, make()))


def test_gibbs_energies_are_refused_with_their_temperature(tmp_path):
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    crystal = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], places)
    gibbs = GibbsComputedStructureEntry(crystal, -3.55, temp=600)
    dumpfn([*map(ComputedEntry.from_dict, good()), gibbs], tmp_path / "gibbs.json")
    with pytest.raises(UserError, match="1 of 7 entries have Gibbs energies at 600 K"):
        read_phases(tmp_path / "gibbs.json")


def test_what_is_odd_about_an_element_is_a_note(tmp_path):
    some = without_corrections(good())
    phases = read_phases(write(tmp_path, [*some, {"composition": {"Ba": 1}, "energy": 1.9}]))
    assert "the energy of Ba alone is positive" in phases.source.notes[0]
    phases = read_phases(write(tmp_path, [*some, *({"composition": {"Ba": 1}, "energy": e} for e in (-1.9, -16))]))
    assert "the lowest entry of Ba alone (-16.00 eV/atom) is 14.1 below the next" in phases.source.notes[0]


def test_energies_on_another_scale_are_told_with_figures(tmp_path):
    phases = read_phases(write(tmp_path, [*elements(), *compounds(correct=False)]))
    assert phases.compare_known() == []  # the same energies, whoever corrected them
    raw = [{**e, "correction": 0.0, "energy_adjustments": []} for e in good()]
    (said,) = read_phases(write(tmp_path, raw)).compare_known()
    assert "SrO has -2.717 in the file, -3.077 there" in said


def test_a_few_of_many_are_left_out_or_told(tmp_path):
    many = [entry({"Sr": 1, "Ti": n, "O": 20}, -2.0, cells=n % 3 + 1) for n in range(1, 120)]
    phases = read_phases(write(tmp_path, [*good(), *many, entry({"Sr": 7, "O": 1}, -9.0)]))
    assert "1 of 123 compounds have impossible formation energies" in phases.source.notes[0]
    assert not any(dict(unit) == {38: 7, 8: 1} for unit in phases.units)
    phases = read_phases(write(tmp_path, [*good(), *many, entry({"Sr": 7, "O": 1}, -0.1, correct=False)]))
    assert "116 compounds with O have a corrected energy, 1 have none, such as entry 126" in phases.source.notes[0]


@pytest.mark.parametrize("symbol", ["Sr2+,spin=0.0", "Sr0+", "Sr2+", "Sr2.0+,spin=5"])
def test_species_are_their_elements(tmp_path, symbol):
    some = [{**good()[0], "composition": {symbol: 2}}, *good()[1:]]
    assert read_phases(write(tmp_path, some)).distance(SRTIO3, -3.52).energy == pytest.approx(0.03)


@pytest.mark.parametrize("composition", [{"D": 2, "O": 1}, {"X0+": 1, "O": 1}, {}, "SrO", {"Sr": -1, "O": 2}])
def test_one_odd_entry_is_counted_and_left_out(tmp_path, composition):
    phases = read_phases(write(tmp_path, [*good(), {**good()[0], "composition": composition}]))
    assert phases.source.notes[0].startswith("1 left out as no entries, the first is ")
    assert "entry 7" in phases.source.notes[0]
    assert phases.distance(SRTIO3, -3.52).energy == pytest.approx(0.03)


FORMS = {
    "lines": lambda path: path.write_text("\n".join(map(json.dumps, good())) + "\n\n"),
    "object": lambda path: path.write_text(json.dumps({"entries": good()})),
    "mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + json.dumps(good()).encode()),
    "gzip": lambda path: path.write_bytes(gzip.compress(json.dumps(good()).encode())),
    "xz": lambda path: path.write_bytes(lzma.compress(json.dumps(good(), indent=1).encode())),
    "bzip2": lambda path: path.write_bytes(bz2.compress(json.dumps(good()).encode())),
    "documents": lambda path: path.write_text(
        json.dumps([*elements(), *(thermo(name, "GGA_GGA+U") for name in FORMATION)])
    ),
    "diagram": lambda path: dumpfn(PhaseDiagram(list(map(ComputedEntry.from_dict, good()))), path),
    "plain": lambda path: dumpfn([PDEntry(e["composition"], e["energy"] + e["correction"]) for e in good()], path),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_files(tmp_path, form, monkeypatch):
    monkeypatch.setattr("screening.chemistry.entries.CHUNK", 100)  # values go over the ends of what is read at once
    path = tmp_path / "entries.json"
    FORMS[form](path)
    phases = read_phases(path)
    assert phases.distance(SRTIO3, -3.52).energy == pytest.approx(0.03)
    assert phases.source.notes == ()


def test_several_files_and_folders_make_one_hull(tmp_path):
    write(tmp_path, elements(), "elements.json")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "compounds.jsonl").write_text("\n".join(map(json.dumps, compounds())))
    write(tmp_path / "more", [], ".hidden.json")
    (tmp_path / "more" / "readme.txt").write_text("mine")
    phases = read_phases([tmp_path / "elements.json", tmp_path / "more"])
    assert phases.distance(SRTIO3, -3.52).energy == pytest.approx(0.03)
    assert (phases.source.count, phases.source.notes) == (6, ())
    write(tmp_path / "more", {"about": "nothing"}, "other.json")
    assert (
        "other.json (holds no entries)" in read_phases([tmp_path / "elements.json", tmp_path / "more"]).source.notes[0]
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder has no file of entries"):
        read_phases(tmp_path / "empty")


@pytest.mark.parametrize("content", ['[{"composition"', '[{"a": 1} {"b": 2}]', "[1, 2", "\x00", '{"a": 1}{'])
def test_what_breaks_off_is_refused(tmp_path, content):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_phases(tmp_path / "broken.json")


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_what_unpacks_without_end_is_refused(tmp_path, compress, monkeypatch):
    monkeypatch.setattr(limits, "_FREE", 2**20)
    (tmp_path / "bomb.json").write_bytes(compress(b'["' + b"x" * 2**25))
    with pytest.raises(UserError, match="times its size"):
        read_phases(tmp_path / "bomb.json")


def test_a_value_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "VALUE", 2**22)
    path = tmp_path / "zeros.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(UserError, match="one value of more than"):
        read_phases(path)


def test_the_compound_itself_may_be_left_out(tmp_path):
    path = write(tmp_path, good())
    others = read_phases(path, exclude_self=True).distance(SRTIO3, -3.55)
    assert others.energy == pytest.approx(-3.55 - (2 * -3.06 + 3 * -3.49) / 5)
    assert others.decomposition in {"SrO + TiO2", "TiO2 + SrO"}
    assert read_phases(path).distance(SRTIO3, -3.55).energy == pytest.approx(0)
