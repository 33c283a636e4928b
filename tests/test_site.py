"""The pages: links lead somewhere, and every page is in the site's menu. `mkdocs build --strict` proves the rest."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("cluster/*.md"), *DOCS.rglob("*.md")])
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))


def links(text: str) -> list[tuple[str, str]]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)", prose)
    return [(target, anchor) for target, anchor in found if not target.startswith(("https://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in links(page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def test_a_broken_link_would_be_seen():
    assert links("[a](b.md#c) `[no](d.md)` [e](https://f) [g](#h)") == [("b.md", "c"), ("", "h")]


def test_every_page_and_notebook_is_in_the_menu():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = set(re.findall(r"[\w/-]+\.md", str(nav)))
    docs = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    notebooks = {str(page.relative_to(DOCS).with_suffix(".md")) for page in NOTEBOOKS}
    assert docs | notebooks | {"index.md"} <= listed


def test_the_paper_cites_what_is_in_its_list_and_nothing_else():
    cited = set(re.findall(r"@(\w+)[];]", (ROOT / "paper.md").read_text(encoding="utf-8")))
    entries = re.findall(r"^@\w+\{(\w+),.*doi = \{10\.", (ROOT / "paper.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == set(entries)
    assert len(entries) == len(set(entries)) > 15
