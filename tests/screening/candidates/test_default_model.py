import pytest

from cgcnn.errors import UserError
from screening.candidates.kind import default_model
from screening.candidates.listed import read_candidates
from screening.candidates.space import double_perovskites, parse_elements, perovskites


def singles(a, b, x, anions=1):
    return perovskites(*map(parse_elements, (a, b, x)), anions)


@pytest.mark.parametrize(
    ("space", "model"),
    [
        (singles("Ca,Sr", "Ti,Zr", "O"), "mp"),
        (singles("Ca,Sr,Nd,Xe", "Ti,Zr", "O,N"), "mp"),
        (singles("Ca,Sr", "Ti,Zr", "O,N", 3), "castelli"),
        (singles("Ca,Sr,Nd,Xe", "Ti,Zr", "O,N,F", 2), "castelli"),
        (double_perovskites((55,), (47, 83), (35,)), "mp"),
    ],
)
@pytest.mark.usefixtures("shipped_models")
def test_one_more_element_does_not_change_the_model(space, model):
    assert default_model(space) == model


@pytest.fixture
def listed(tmp_path):
    def read(text):
        path = tmp_path / "candidates.csv"
        path.write_text(text)
        return read_candidates(path)

    return read


@pytest.mark.usefixtures("shipped_models")
def test_listed_candidates_go_by_whether_elements_mix_on_x(listed):
    assert default_model(listed("A,B,X\nCa,Ti,O\nCs,Pb,I\nQq,Ti,O\n")) == "mp"
    assert default_model(listed("A,B,B',X\nCa,Ti,Zr,O\n")) == "mp"
    assert default_model(listed("A,B,X1,X2,X3\nCa,Ti,O,O,O\nBa,Ta,O,N,O\n")) == "castelli"


def test_another_model_is_better_than_none(shipped_models):
    (shipped_models / "mp.safetensors").unlink()
    assert default_model(singles("Cs", "Pb", "I")) == "castelli"
    with pytest.raises(UserError, match=r"no shipped model takes these candidates\. Name a `model`"):
        default_model(double_perovskites((55,), (47, 83), (35,)))
