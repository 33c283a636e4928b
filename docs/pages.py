"""An mkdocs hook that turns notebooks, and pages from outside this folder, into pages of the site.

The README is the first page. Links between files of the repository become links between pages, so that each text
works in the repository and on the site.
"""

import json
import posixpath
import re
from base64 import b64decode
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
    "cluster/README.md": "cluster.md",
    "cluster": "cluster.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "CITATION.cff",
}
SOURCES = {page: source for source, page in OUTSIDE.items() if (ROOT / source).is_file()}
LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside, and one for each notebook."""
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        for name, content in _pages_of(notebook).items():
            files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Point links to pages instead of files."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")
    return LINK.sub(lambda link: _relinked(link, posixpath.dirname(source), posixpath.dirname(uri)), markdown)


def _relinked(link: re.Match[str], source: str, place: str) -> str:
    start, target, anchor, end = link.groups()
    path = posixpath.normpath(posixpath.join(source, target))
    page = OUTSIDE.get(path) or path.removeprefix("docs/")
    if page.endswith(".ipynb") and not page.startswith(f"{place}/"):
        page = page.removesuffix(".ipynb") + ".md"
    return f"{start}{posixpath.relpath(page, place or '.')}{anchor or ''}{end}"


def _pages_of(notebook: File) -> dict[str, str | bytes]:
    """Return the Markdown of a notebook with its outputs, and its pictures, by their names in the site."""
    stem, parts, pictures = notebook.src_uri.removesuffix(".ipynb"), [], {}
    for number, cell in enumerate(json.loads(notebook.content_string)["cells"]):
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{number}.png"
                pictures[name] = b64decode(data["image/png"])
                parts.append(f"![]({posixpath.basename(name)})")
            else:
                shown = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{shown.rstrip()}\n```")
    file = posixpath.basename(notebook.src_uri)
    parts.append(f"*This page is [a notebook]({file}): download it and run it.*")
    return {f"{stem}.md": "\n\n".join(parts), **pictures}
