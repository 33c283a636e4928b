"""The texts that users read: no retired turns of phrase, no doubled words, lines of at most 100 characters."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "benchmarks/*.md", "cluster/*.md", "docs/**/*.md", "docs/**/*.ipynb")
    for path in ROOT.glob(pattern)
)
WIDTH = 100
RETIRED = (
    r"told|whoever|strangers",
    r"(is|are) none",
    r"wants an?",
    r"mend(s|ed|ing)?",
    r"(go|goes|going|gone|went) on (with|to|from|there|where)",
    r"turn(s|ed)? away|(your|own) affair|beside the labels|in the mean|as a rule",
    r"what is wrong is|is what it is|what it is that|what became of",
    r"(be|is|are|was|were) begun on|of the user's wish|may be other",
    r"\brooms?\b(?! temperature)",
)
PHRASE = re.compile(rf"\b({'|'.join(RETIRED)})\b", re.IGNORECASE)
DOUBLED = re.compile(r"\b([a-z]+) \1\b")


def prose(path: Path) -> str:
    """Read the text of a page without code, tables, headings and what is generated."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"<!-- (card \w+|literature: begin) -->.*?<!-- (end|literature: end) -->", "", text, flags=re.DOTALL)
    text = re.sub(r"\A---\n.*?\n---\n|^```.*?^```|^:::.*?(?=^\S|\Z)", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^(\||#|<!--|!\[).*$", "", text, flags=re.MULTILINE)


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def text(request: pytest.FixtureRequest) -> str:
    return prose(request.param)


def test_no_page_uses_a_retired_phrase(text):
    said = " ".join(re.sub(r"`[^`]*`", "", text).split())
    assert [said[max(0, found.start() - 30) : found.end() + 30] for found in PHRASE.finditer(said)] == []


def test_no_word_is_doubled(text):
    said = re.sub(r"`[^`]*`", "", text)
    assert [found.group() for found in DOUBLED.finditer(said)] == []


def test_lines_wrap_at_100_characters(text):
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


def test_a_retired_phrase_would_be_found():
    assert PHRASE.search("Of what was found there is none.")
    assert PHRASE.search("a new page wants a line")
    assert not PHRASE.search("None of the figures is rounded at room temperature.")
