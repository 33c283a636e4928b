"""The pages on the run format and its safety agree with the code."""

import re
from pathlib import Path

from screening.store import StoredRun
from screening.store.header import DECISIVE, files
from screening.store.lock import BEAT, PATIENCE

DOCS = Path(__file__).parents[3] / "docs"
PAGE, SAFETY = ((DOCS / name).read_text(encoding="utf-8") for name in ("run-format.md", "run-safety.md"))


def test_the_code_on_the_page_runs(toy, tmp_path, monkeypatch, capsys):
    toy.make(str(tmp_path / "RUN.zarr"))
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, {})  # noqa: S102  # our own page
    assert capsys.readouterr().out.startswith("castelli eV/atom -0.99")


def test_every_attribute_of_the_header_is_on_the_page(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"), range(1))
    attributes = re.findall(r"`(\w+)`", PAGE)
    assert set(StoredRun.open(str(tmp_path / "R.zarr")).header.__dataclass_fields__) <= set(attributes)


def test_the_promises_name_the_packages_whose_versions_decide():
    promised = " ".join((DOCS / "promises.md").read_text(encoding="utf-8").split())
    assert f"versions of {', '.join(DECISIVE[:-1])} and {DECISIVE[-1]}" in promised


def test_the_layout_on_the_page_is_that_of_a_run(toy):
    for name in files(toy.header):
        assert name.rsplit("/", 1)[-1] in PAGE


def test_the_times_on_the_page_are_those_of_the_lock():
    assert f"every {BEAT:.0f} s" in SAFETY
    assert f"up to {PATIENCE:.0f} s" in SAFETY
