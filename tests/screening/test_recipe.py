import tomllib

import pytest

from cgcnn.errors import UserError
from cgcnn.files import recipes
from screening.plan import make_plan
from screening.recipe import DEFAULT_FILTERS, make_recipe, read_recipe


def test_settings_not_given_keep_their_defaults():
    recipe = make_recipe(kind="perovskites", elements=("Ca", "Ti", "O"), top=None, csv=None)
    assert (recipe.model, recipe.anions, recipe.top) == (None, 1, None)


def test_filters_are_the_default_where_chemistry_chooses_the_sites():
    assert make_recipe(kind="perovskites", elements=("Ca", "Ti", "O")).chosen_filters == DEFAULT_FILTERS
    assert make_recipe(kind="perovskites", a=("Ca",), b=("Ti",), x=("O",)).chosen_filters == ()


def test_filters_are_added_and_no_filter_begins_without_any(tmp_path):
    named = {"kind": "perovskites", "elements": ("Ca", "Ti", "O")}
    assert make_recipe(**named, filters=("gap=1:2", "charge")).chosen_filters == (*DEFAULT_FILTERS, "gap=1:2")
    assert make_recipe(**named, no_filter=True).chosen_filters == ()
    assert make_recipe(**named, filters=("gap=1:2",), no_filter=True).chosen_filters == ("gap=1:2",)
    path = tmp_path / "r.toml"
    sites = 'kind = "perovskites"\na = "Ca"\nb = "Ti"\nx = "O"\n'
    path.write_text(sites + 'filters = ["charge", "tau=4.5"]\n')
    assert read_recipe(str(path)).chosen_filters == ("charge", "tau=4.5")
    assert read_recipe(str(path), filters=()).chosen_filters == ("charge", "tau=4.5")
    assert read_recipe(str(path), filters=("gap=1:2",)).chosen_filters == ("charge", "tau=4.5", "gap=1:2")
    assert read_recipe(str(path), filters=("gap=1:2",), no_filter=True).chosen_filters == ("gap=1:2",)
    assert read_recipe(str(path), no_filter=True).chosen_filters == ()
    path.write_text(sites + 'filters = ["charge"]\nno_filter = true\n')
    assert read_recipe(str(path), filters=("gap=1:2",)).chosen_filters == ("charge", "gap=1:2")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "perovskites"}, "either `elements`, or the sites"),
        ({"kind": "perovskites", "elements": ("Ca",), "a": ("Ca",)}, "either `elements`, or the sites"),
        ({"kind": "perovskites", "a": ("Ca",), "x": ("O",)}, "`b` missing"),
        ({"kind": "perovskites", "elements": ("Ca",), "anions": 4}, r"`anions`: .* \(given: 4\)"),
        ({"kind": "perovskites", "elements": ("Ca",), "colour": "red"}, "`colour`: .* not permitted"),
        ({"kind": "perovskites", "elements": ("Ca",), "file": "x.csv"}, 'goes with kind = "list"'),
        ({"kind": "list"}, "takes a file"),
        ({"kind": "perovskites", "elements": ("Ca",), "prototype": "cubic-perovskite"}, "a prototype goes with"),
        ({"kind": "double-perovskites", "elements": ("Ca",), "anions": 2}, "one kind of X"),
    ],
)
def test_contradicting_settings_are_refused_with_one_line(settings, message):
    with pytest.raises(UserError, match=message) as error:
        make_recipe(**settings)
    assert "\n" not in str(error.value)


def test_a_recipe_file_is_read_and_overridden(tmp_path):
    path = tmp_path / "oxides.toml"
    path.write_text('kind = "perovskites"\nelements = ["Ca", "Ti", "O"]\ntop = 3\n')
    assert read_recipe(str(path)).top == 3
    assert read_recipe(str(path), top=5, csv=None).top == 5


@pytest.mark.parametrize("text", ["kind = ", "top = 3", 'kind = "perovskites"\nelement = ["Ca"]'])
def test_a_broken_recipe_file_is_named(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"broken\.toml: "):
        read_recipe(str(path))


def test_shipped_campaigns_can_be_planned(both_path):
    campaigns = {name for name, path in recipes().items() if "kind" in tomllib.loads(path.read_text())}
    assert campaigns >= {"castelli-grid", "halide-doubles", "oxide-doubles"}
    for name in campaigns:
        recipe = read_recipe(name, model=str(both_path))
        assert (bool(recipe.summary), recipe.out) == (True, f"{name}.zarr")
        assert make_plan(recipe).candidates.count > 1000


def test_a_missing_recipe_is_named():
    with pytest.raises(UserError, match="nowhere: no such recipe"):
        read_recipe("nowhere")
