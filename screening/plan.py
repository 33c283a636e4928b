"""The plan: a recipe with everything resolved, and the form in which a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cgcnn import __version__
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.card import read_card, weights_path
from screening.candidates.columns import OF_STRUCTURES, SORTABLE, columns_for
from screening.candidates.default_model import default_model
from screening.candidates.listed import Listed, read_candidates
from screening.candidates.space import Space, double_perovskites, parse_elements, perovskites, symbols
from screening.candidates.structures import Structures, read_structures
from screening.chemistry.filters import Filter, parse_filter
from screening.chemistry.placement import Sites, assign_sites
from screening.recipe import PROTOTYPE_OF, STABLE_AT, Recipe
from screening.store import Column, Header, Records
from screening.store.versions import decisive

if TYPE_CHECKING:
    from screening.candidates.multisets import Species
    from screening.store.shard import Array


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
        space: The candidates: enumerated, listed in a file, or structures.
        filters: In the order in which they are applied.
        model: What predicts.
        definition: How the space was named, as JSON values: prototype, elements of the sites and kinds of anions, or
            the columns of a candidate file; nothing for structures.
        stable_at: Energy above hull, eV/atom, up to which `p_stable` calls a candidate stable.
        unplaced: Elements that were named but fit no site, for a note to the user.
    """

    space: Space | Listed | Structures
    filters: tuple[Filter, ...]
    model: ModelReference
    definition: dict[str, Any]
    stable_at: float = STABLE_AT
    unplaced: tuple[str, ...] = ()

    @property
    def prototype(self) -> Prototype:
        """The structure that every candidate takes.

        Raises:
            TypeError: The candidates are structures of their own.
        """
        if isinstance(self.space, Structures):
            raise TypeError("structures have no prototype")
        return PROTOTYPES[self.space.prototype]

    @property
    def records(self) -> Records | None:
        """What the run is given to keep, where the space is not enumerated."""
        return self.space.records

    @property
    def ranked(self) -> tuple[Column, ...]:
        """The columns of a ranking that hold what is known of a candidate."""
        return OF_STRUCTURES if isinstance(self.space, Structures) else SORTABLE

    @property
    def read(self) -> tuple[str, ...]:
        """The columns of a run that a ranking reads."""
        own = "composition" if isinstance(self.space, Structures) else "species"
        return ("status", own, *(column.name for column in self.ranked))

    @property
    def site_columns(self) -> tuple[str, ...]:
        """The site columns of a ranking: those of the candidate file; A,B,X where X is one element; or all sites."""
        if isinstance(self.space, Structures):
            return ()
        if isinstance(self.space, Listed):
            return self.space.columns
        return self.prototype.role_names if self.definition.get("anions") == 1 else self.prototype.sites

    def identity(self, start: int, stop: int) -> dict[str, Array]:
        """The columns of a run that show which candidate a row is, of candidates [start, stop)."""
        if isinstance(self.space, Structures):
            return {"fingerprint": self.space.fingerprints(start, stop)}
        return {"species": self.decode(start, stop)}

    def decode(self, start: int, stop: int) -> Species:
        """The candidates [start, stop): atomic numbers on their sites, (n, n_sites), canonical.

        Raises:
            TypeError: They are structures.
        """
        if isinstance(self.space, Structures):
            raise TypeError("structures have no sites")
        return self.space.decode(start, stop)

    def header(self, block_rows: int) -> Header:
        """The header of a run of this plan, from which `from_header` makes the plan again."""
        return Header(
            rows=self.space.count,
            block_rows=block_rows,
            columns=columns_for(None if isinstance(self.space, Structures) else self.prototype, self.stable_at),
            recipe={"model": self.model.name, "stable_at": self.stable_at},
            space=self.definition,
            filters=tuple(str(chosen) for chosen in self.filters),
            model=self.model.path,
            model_digest=self.model.digest,
            code_version=__version__,
            versions=decisive(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            records="" if self.records is None else self.records.index.digest,
        )


def make_plan(recipe: Recipe) -> Plan:
    """Resolve a recipe: sites, space, filters, model.

    Raises:
        UserError: An element, filter, file or model is unknown, the space is empty, or model and space do not fit.
    """
    if recipe.kind == "structures":
        return _plan_of_structures(recipe)
    definition, records, unplaced = _define(recipe)
    space = _space(definition, records)
    filters = tuple(parse_filter(text) for text in recipe.chosen_filters)
    model = _refer(recipe.model or default_model(space))
    takes = read_card(model.path).prototypes
    if space.prototype not in takes:
        raise UserError(
            f"--model {recipe.model}: trained for {', '.join(takes) or 'structures'}; the space holds "
            f"{space.prototype}. `screen models` lists what each model takes."
        )
    return Plan(space, filters, model, definition, recipe.stable_at, unplaced)


def from_header(header: Header, records: Records | None) -> Plan:
    """The plan of a run; the inverse of `Plan.header`.

    Args:
        header: Of the run.
        records: Of the run, if it has any.
    """
    model = ModelReference(header.recipe["model"], header.model, header.model_digest)
    definition, filters = dict(header.space), tuple(parse_filter(text) for text in header.filters)
    space = Structures(records) if records is not None and not definition else _space(definition, records)
    return Plan(space, filters, model, definition, header.recipe["stable_at"])


def _plan_of_structures(recipe: Recipe) -> Plan:
    model = _refer(recipe.model or "")  # the recipe has made sure of one
    card = read_card(model.path)
    if card.input != "structure" or "e_above_hull" not in {target.name for target in card.targets}:
        targets = ", ".join(target.name for target in card.targets)
        raise UserError(
            f"--model {recipe.model}: predicts {targets} of {card.input}s; structures need a model that predicts "
            "e_above_hull of structures. `screen models` lists what each model takes."
        )
    return Plan(read_structures(recipe.paths), (), model, {}, recipe.stable_at)


def _space(definition: dict[str, Any], records: Records | None) -> Space | Listed:
    if records is None:
        a, b, x = (parse_elements(definition[site]) for site in "abx")
        if definition["prototype"] == "double-perovskite":
            return double_perovskites(a, b, x)
        return perovskites(a, b, x, definition["anions"])
    return Listed(definition["prototype"], tuple(definition["columns"]), tuple(definition["extra"]), records)


def _define(recipe: Recipe) -> tuple[dict[str, Any], Records | None, tuple[str, ...]]:
    """The definition of the recipe's space, the records of a list, and the elements that have no place in it."""
    if recipe.file is not None:
        listed = read_candidates(recipe.file, recipe.prototype)
        columns = {"columns": list(listed.columns), "extra": list(listed.extra)}
        return {"prototype": listed.prototype, **columns}, listed.records, ()
    sites = _sites(recipe)
    a, b, x = (list(symbols(sorted(numbers))) for numbers in (sites.A, sites.B, sites.X))
    definition: dict[str, Any] = {"prototype": PROTOTYPE_OF[recipe.kind], "a": a, "b": b, "x": x}
    if recipe.kind == "perovskites":
        definition["anions"] = recipe.anions
    return definition, None, symbols(sites.unplaced)


def _sites(recipe: Recipe) -> Sites:
    if recipe.elements:
        return assign_sites(parse_elements(recipe.elements), PROTOTYPES[PROTOTYPE_OF[recipe.kind]])
    return Sites(parse_elements(recipe.a), parse_elements(recipe.b), parse_elements(recipe.x), ())


def _refer(model: str) -> ModelReference:
    path = weights_path(model)
    card = read_card(path)
    return ModelReference(card.name, str(path.resolve()), card.digest)
