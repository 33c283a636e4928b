"""The plan: a recipe with everything resolved, and the form in which a run keeps it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from cgcnn import __version__
from cgcnn.card import read_card, weights_path
from cgcnn.errors import UserError
from cgcnn.prototype import PROTOTYPES, Prototype
from screening.candidates import Candidates, parse_candidates
from screening.columns import columns_for
from screening.filters import Filter, parse_filter
from screening.recipe import STABLE_AT, Recipe
from screening.sites import Sites, assign_sites
from screening.space import Space, listed, parse_elements, perovskites, symbols
from screening.store import Header


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
        definition: how the space was named, as JSON values: prototype, elements of the sites and kinds of anions, or
            the text of a candidate file.
        stable_at: energy above hull, eV/atom, up to which `p_stable` calls a candidate stable.
        unplaced: elements that were named but fit no site, for a note to the user.
    """

    space: Space
    filters: tuple[Filter, ...]
    model: ModelReference
    definition: dict[str, Any]
    stable_at: float = STABLE_AT
    unplaced: tuple[str, ...] = ()

    @property
    def prototype(self) -> Prototype:
        """The structure that every candidate takes."""
        return PROTOTYPES[self.space.prototype]

    @cached_property
    def listing(self) -> Candidates | None:
        """The parsed candidate file, if the space is one."""
        if "candidates" not in self.definition:
            return None
        return parse_candidates(self.definition["candidates"], self.prototype, self.definition["file"])

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

    def header(self, block_rows: int) -> Header:
        """The header of a run of this plan, from which `from_header` makes the plan again."""
        return Header(
            rows=self.space.count,
            block_rows=block_rows,
            columns=columns_for(self.prototype, self.stable_at),
            recipe={"model": self.model.name, "stable_at": self.stable_at},
            space=self.definition,
            filters=tuple(str(chosen) for chosen in self.filters),
            model=self.model.path,
            model_digest=self.model.digest,
            code_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def make_plan(recipe: Recipe) -> Plan:
    """Resolve a recipe: sites, space, filters, model.

    Raises:
        UserError: an element, filter, file or model is unknown, the space is empty, or model and space do not fit.
    """
    definition, unplaced = _define(recipe)
    plan = _build(definition, recipe.chosen_filters, _refer(recipe.model), recipe.stable_at, unplaced)
    trained_for = read_card(plan.model.path).prototype
    if trained_for != plan.space.prototype:
        raise UserError(
            f"--model {recipe.model}: trained for {trained_for or 'structures'}; the space holds "
            f"{plan.space.prototype}. `screen models` lists what each model takes."
        )
    return plan


def from_header(header: Header) -> Plan:
    """The plan of a run; the inverse of `Plan.header`."""
    model = ModelReference(header.recipe["model"], header.model, header.model_digest)
    return _build(dict(header.space), header.filters, model, header.recipe["stable_at"])


def _build(
    definition: dict[str, Any],
    filters: tuple[str, ...],
    model: ModelReference,
    stable_at: float,
    unplaced: tuple[str, ...] = (),
) -> Plan:
    if "candidates" in definition:
        prototype = PROTOTYPES[definition["prototype"]]
        space = listed(prototype, parse_candidates(definition["candidates"], prototype, definition["file"]).species)
    else:
        a, b, x = (parse_elements(definition[site]) for site in "abx")
        space = perovskites(a, b, x, definition["anions"])
    return Plan(space, tuple(parse_filter(text) for text in filters), model, definition, stable_at, unplaced)


def _define(recipe: Recipe) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The definition of the recipe's space, and the elements that have no place in it."""
    if recipe.prototype not in PROTOTYPES:
        raise UserError(f"--prototype {recipe.prototype}: unknown; there is {', '.join(PROTOTYPES)}.")
    if recipe.file is not None:
        return {"prototype": recipe.prototype, "file": recipe.file.name, "candidates": _read(recipe.file)}, ()
    sites = _sites(recipe)
    a, b, x = (list(symbols(sorted(numbers))) for numbers in (sites.A, sites.B, sites.X))
    return {"prototype": recipe.prototype, "a": a, "b": b, "x": x, "anions": recipe.anions}, symbols(sites.unplaced)


def _sites(recipe: Recipe) -> Sites:
    if recipe.elements:
        return assign_sites(parse_elements(recipe.elements))
    return Sites(parse_elements(recipe.a), parse_elements(recipe.b), parse_elements(recipe.x), ())


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
