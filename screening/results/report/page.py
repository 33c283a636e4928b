"""The page of a report: its template, style and scripts put into one HTML file.

The page forbids itself all connections and every script but those that it came with (its Content-Security-Policy names
their digests), so that neither a name from a file of candidates nor a library can do more than it should.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping

VENDOR = ("echarts.min.js", "3Dmol.min.js")
"""Libraries, see the table beside them."""
SCRIPTS = (
    *("data.js", "format.js", "filters.js", "table.js", "structure.js", "cif.js", "card.js"),
    *("charts.js", "maps.js", "periodic.js", "main.js"),
)
"""Our scripts; each uses those before it."""


def fill_page(data: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """The page.

    Args:
        data: What its scripts compute with, as JSON values.
        told: The values of its template.
    """
    scripts = [_asset(f"vendor/{name}") for name in VENDOR]
    scripts.append("\n".join(_asset(f"scripts/{name}") for name in SCRIPTS))
    return (
        _environment()
        .get_template("report.html")
        .render(
            **told,
            policy=_policy(scripts),
            style=Markup(_asset("report.css")),  # noqa: S704  # ours
            scripts=[Markup(script) for script in scripts],  # noqa: S704  # ours, and libraries
            data=Markup(_embedded(data)),  # noqa: S704  # no character of it ends a script
        )
    )


def _asset(name: str) -> str:
    return (files("screening.results.report") / "assets" / name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """What the page may do: run these scripts, and neither load nor send anything."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that HTML takes for nothing else, whatever texts it has."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("screening.results.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
