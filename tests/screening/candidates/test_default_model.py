import pytest

from cgcnn.errors import UserError
from screening.candidates.default_model import default_model
from screening.candidates.listed import read_candidates
from screening.candidates.space import double_perovskites, parse_elements, perovskites


def singles(a, b, x, anions=1):
    return perovskites(*map(parse_elements, (a, b, x)), anions)


@pytest.mark.parametrize(
    ("space", "model"),
    [
        (singles("Ca,Sr", "Ti,Zr", "O"), "castelli"),
        (singles("Ca,Sr", "Ti,Zr", "O,N", 3), "castelli"),
        (singles("Ca,Sr", "Ti,Zr", "O,Cl"), "mp"),
        (singles("Ca,Cs", "Ti", "O"), "mp"),
        (singles("Ca", "Ti,Pb", "O"), "mp"),
        (singles("Xe", "Ti", "O"), "mp"),
        (double_perovskites((55,), (47, 83), (35,)), "mp"),
        (double_perovskites((20,), (22, 40), (8,)), "mp"),
    ],
)
@pytest.mark.usefixtures("shipped_models")
def test_the_narrow_model_is_taken_where_it_knows_all_elements(space, model):
    assert default_model(space) == model


def test_a_model_that_saw_fluorine_beside_oxygen_only_is_not_for_fluorides(listed):
    assert default_model(singles("K", "Mg", "F")) == "mp"
    assert default_model(singles("Ca", "Zr", "F,S", 2)) == "mp"
    assert default_model(listed("A,B,X\nK,Mg,F\nCa,Zr,S\n")) == "mp"
    assert default_model(singles("K", "Mg", "O,F", 2)) == "castelli"


@pytest.fixture
def listed(tmp_path):
    def read(text):
        path = tmp_path / "candidates.csv"
        path.write_text(text)
        return read_candidates(path)

    return read


@pytest.mark.usefixtures("shipped_models")
def test_listed_candidates_go_by_all_of_their_rows(listed):
    assert default_model(listed("A,B,X\nCa,Ti,O\nSr,Zr,N\n")) == "castelli"
    assert default_model(listed("A,B,X\nCa,Ti,O\nCs,Pb,I\n")) == "mp"
    assert default_model(listed("A,B,B',X\nCa,Ti,Zr,O\n")) == "mp"


def test_a_model_that_lacks_elements_is_better_than_none(shipped_models):
    (shipped_models / "mp.safetensors").unlink()
    assert default_model(singles("Cs", "Pb", "I")) == "castelli"
    with pytest.raises(UserError, match=r"no shipped model takes double-perovskite. Name a `model`"):
        default_model(double_perovskites((55,), (47, 83), (35,)))
