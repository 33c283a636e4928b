"""The plan: a recipe with everything resolved, and the form in which a run keeps it."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cgcnn.card import read_card, weights_path
from cgcnn.errors import UserError
from cgcnn.prototype import PROTOTYPES, Prototype
from screening.candidates import Candidates, parse_candidates
from screening.chemistry import assign_sites
from screening.filters import Filter, parse_filter
from screening.recipe import Recipe
from screening.space import Space, listed, parse_elements, perovskites, symbols


@dataclass(frozen=True)
class ModelReference:
    """A model as a worker finds it, and how it knows that it found the right one."""

    name: str
    path: str
    digest: str


@dataclass(frozen=True)
class Plan:
    """What to compute: workers need nothing else.

    Attributes:
        space: the candidates.
        filters: in the order in which they are applied.
        model: what predicts.
        definition: how the space was named, as JSON values; `from_record` builds it from this again.
        candidates: the text of the candidate file, if the space is one.
    """

    space: Space
    filters: tuple[Filter, ...]
    model: ModelReference
    definition: dict[str, Any]
    candidates: str | None = None

    @property
    def prototype(self) -> Prototype:
        """The structure that every candidate takes."""
        return PROTOTYPES[self.space.prototype]

    @cached_property
    def listing(self) -> Candidates | None:
        """The parsed candidate file, if the space is one."""
        if self.candidates is None:
            return None
        return parse_candidates(self.candidates, self.prototype, self.definition["file"])

    @property
    def site_columns(self) -> tuple[str, ...]:
        """The site columns of a ranking: those of the candidate file, else A,B,X or, for mixed anions, all sites."""
        if self.listing is not None:
            return self.listing.site_columns
        return self.prototype.role_names if self.definition["anions"] == 1 else self.prototype.sites

    @property
    def extra(self) -> dict[str, list[str]]:
        """Columns that pass through from the candidate file: name -> texts by index."""
        return {} if self.listing is None else self.listing.extra

    def record(self) -> dict[str, Any]:
        """The plan as JSON values, for the header of a run; all of it decides the results, but the model's path."""
        return {
            "space": self.definition,
            "filters": [str(chosen) for chosen in self.filters],
            "model": {"name": self.model.name, "path": self.model.path, "digest": self.model.digest},
        }

    @cached_property
    def digest(self) -> str:
        """Sha256 of what decides the results."""
        record = self.record()
        record["model"] = self.model.digest
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def make_plan(recipe: Recipe) -> Plan:
    """Resolve a recipe: sites, space, filters, model.

    Raises:
        UserError: an element, filter, file or model is unknown, the space is empty, or model and space do not fit.
    """
    definition, candidates = _define(recipe)
    plan = _build(definition, recipe.chosen_filters, _refer(recipe.model), candidates)
    trained_for = read_card(plan.model.path).prototype
    if trained_for != plan.space.prototype:
        raise UserError(
            f"--model {recipe.model}: trained for {trained_for or 'structures'}; the space holds "
            f"{plan.space.prototype}. `screen models` lists what each model takes."
        )
    return plan


def from_record(record: dict[str, Any], candidates: str | None) -> Plan:
    """The plan that a run keeps; the inverse of `Plan.record`.

    Args:
        record: what `Plan.record` returned.
        candidates: the text of the candidate file that the run keeps, if any.
    """
    return _build(record["space"], tuple(record["filters"]), ModelReference(**record["model"]), candidates)


def _build(
    definition: dict[str, Any], filters: tuple[str, ...], model: ModelReference, candidates: str | None
) -> Plan:
    if candidates is None:
        a, b, x = (parse_elements(definition[site]) for site in "abx")
        space = perovskites(a, b, x, definition["anions"])
    else:
        prototype = PROTOTYPES[definition["prototype"]]
        space = listed(prototype, parse_candidates(candidates, prototype, definition["file"]).species)
    return Plan(space, tuple(parse_filter(text) for text in filters), model, definition, candidates)


def _define(recipe: Recipe) -> tuple[dict[str, Any], str | None]:
    if recipe.prototype not in PROTOTYPES:
        raise UserError(f"--prototype {recipe.prototype}: unknown; there is {', '.join(PROTOTYPES)}.")
    if recipe.file is not None:
        text = _read(recipe.file)
        sha = hashlib.sha256(text.encode()).hexdigest()
        return {"prototype": recipe.prototype, "file": recipe.file.name, "sha256": sha}, text
    sites = _sites(recipe)
    named = {site: list(symbols(sorted(sites[site]))) for site in "abx"}
    return {"prototype": recipe.prototype, **named, "anions": recipe.anions}, None


def _sites(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    if not recipe.elements:
        return {"a": parse_elements(recipe.a), "b": parse_elements(recipe.b), "x": parse_elements(recipe.x)}
    sites = assign_sites(parse_elements(recipe.elements))
    return {"a": sites.A, "b": sites.B, "x": sites.X}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}. Give a CSV file of candidates.") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8. Give a CSV file of candidates.") from None


def _refer(model: str) -> ModelReference:
    path = weights_path(model)
    card = read_card(path)
    return ModelReference(card.name, str(path.resolve()), card.digest)
