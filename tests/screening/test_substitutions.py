"""A candidate explained by exchanging its elements: every figure is one that the model gives when asked."""

import re
import sys

import numpy as np
import pytest

import screening
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.models.files import load
from screening.cli import commands as cli
from screening.explain import explain_candidate, find_candidate
from screening.plan import plan_of


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path):
    out = tmp_path_factory.mktemp("run") / "R.zarr"
    sites = {"a": ["Ca", "Sr", "Ti"], "b": ["Ti", "Ca"], "x": ["O", "N"], "anions": 2}
    return screening.screen("perovskites", **sites, model=str(model_path), out=out)


def numbers(text):
    return np.array([[SYMBOLS.index(symbol) for symbol in text.split()]], dtype=np.uint8)


def test_contributions_are_differences_to_the_median_of_the_elements_of_the_training(run, model_path):
    told = explain_candidate(run.url, "SrTiO3")
    model = load(model_path).on("cubic-perovskite")

    def energies(rows):
        return np.array([model.predict(numbers(row))["e_above_hull"][0][0] for row in rows])

    (own,) = energies(["Sr Ti O O O"])
    assert told.energy == pytest.approx(own, abs=1e-5)
    others = {  # those of the model's training, see conftest
        "A": energies(["Ca Ti O O O", "Ba Ti O O O", "La Ti O O O"]),
        "B": energies(["Sr Zr O O O", "Sr Hf O O O", "Sr Ta O O O"]),
        "X": energies(["Sr Ti N N N"]),
    }
    assert {part.role: part.element for part in told.contributions} == {"A": "Sr", "B": "Ti", "X": "O"}
    for part in told.contributions:
        assert part.energy == pytest.approx(own - np.median(others[part.role]), abs=1e-5)
        assert part.place == 1 + (others[part.role] < own).sum()
        assert part.others == 1 + len(others[part.role])
    assert [part.energy for part in told.contributions] == sorted(part.energy for part in told.contributions)
    lower = {"CaTiO3": 0, "BaTiO3": 1} | {f"Sr{b}O3": i for i, b in enumerate(("Zr", "Hf"))}  # they balance
    found = [others["A"][0], others["A"][1], others["B"][0], others["B"][1]]
    expected = sorted(zip(found, ["CaTiO3", "BaTiO3", *list(lower)[2:]], strict=True))
    balanced = [name for energy, name in expected if energy < own]
    assert [e.formula for e in told.better if e.formula in lower] == balanced
    assert all(e.balanced and e.energy < told.energy for e in told.better)


def test_a_candidate_of_mixed_anions_and_a_double_keep_their_order(run, doubles):
    told = explain_candidate(run.url, "SrTiO2N")
    assert {(part.role, part.element) for part in told.contributions} == {
        ("A", "Sr"),
        ("B", "Ti"),
        ("X", "O"),
        ("X", "N"),
    }
    double = explain_candidate(doubles.url, "Cs2AgBiBr6")
    assert {(part.role, part.element) for part in double.contributions} == {
        ("A", "Cs"), ("B", "Ag"), ("B", "Bi"), ("X", "Br"),
    }  # fmt: skip
    assert all(re.fullmatch(r"[A-Z]\w?2[A-Z]\w?[A-Z]\w?[A-Z][a-z]?6", e.formula) for e in double.better)


def test_a_candidate_is_found_by_index_formula_or_id(run, tmp_path, model_path):
    candidates = plan_of(run.url).candidates
    for index in range(candidates.count):
        assert find_candidate(candidates, str(index)) == index
    last = candidates.count - 1
    (name,) = candidates.formulas(candidates.decode(last, last + 1)).to_pylist()
    assert find_candidate(candidates, name) == last
    with pytest.raises(UserError, match="CaTiO3: 2 candidates; name one by its index"):  # Ca on A, and Ca on B
        find_candidate(candidates, "CaTiO3")
    for missing in ("BaTiO3", "CaTiO2", "nonsense", "99999", "Xx2", "²", "9" * 5000, "Ca²TiO3", "Ca99999999999TiO3"):
        with pytest.raises(UserError, match=f"{missing}: no candidate of this run"):
            find_candidate(candidates, missing)
    (tmp_path / "in.csv").write_text("id,A,B,X\nq7,Sr,Zr,O\nq8,Ca,Xx,O\n")
    listed = screening.screen(
        "list", file=tmp_path / "in.csv", model=str(model_path), out=tmp_path / "L.zarr", workers=1
    )
    assert explain_candidate(listed.url, "q7").formula == "SrZrO3"
    with pytest.raises(UserError, match="'Xx' is not the symbol"):
        explain_candidate(listed.url, "q8")


def test_the_command_tells_it_in_words(run, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", "explain", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    code, stdout, _ = call(run.url, "SrTiO3")
    told = explain_candidate(run.url, "SrTiO3")
    assert code == 0
    assert stdout.startswith(
        f"SrTiO3, candidate {told.index}: {told.energy:.3f} ± {told.deviation:.3f} eV/atom above hull"
    )
    for part in told.contributions:
        line = rf"^{part.role} +{part.element} +[+-]{abs(part.energy):.3f} +{part.place} of {part.others}"
        assert re.search(line, stdout, re.MULTILINE)
    assert "no oxidation states balance" in call(run.url, "SrCaO2N")[1]
    assert call(run.url, "KTaO3")[0] == 1
    assert call(run.url)[0] == call(run.url, "SrTiO3", "-o", "x")[0] == 2
