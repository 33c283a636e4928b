"""The plan: a recipe with everything resolved, and the form in which a run keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from cgcnn import __version__
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import read_card, weights_path
from cgcnn.network.choice import name_kernel
from screening.candidates.cascade import Cascade
from screening.candidates.compositions import OrderOfB, TrainingRows
from screening.candidates.kind import Candidates, default_model
from screening.candidates.listed import Listed, read_candidates
from screening.candidates.space import Space, double_perovskites, parse_elements, perovskites, symbols
from screening.candidates.structures import Structures, read_structures
from screening.chemistry.competing import read_phases
from screening.chemistry.filters import Filter, parse_filter
from screening.chemistry.oxidation import ICSD, StateSet, read_states, states_of
from screening.chemistry.placement import Sites, assign_sites
from screening.recipe import PROTOTYPE_OF, SORT, STABLE_AT, Recipe
from screening.store import Header, load_header, load_records
from screening.store.header import decisive

if TYPE_CHECKING:
    from collections.abc import Callable

    from screening.store import Records

KINDS: dict[str, Callable[[dict[str, Any], Any], Candidates]] = {
    Space.kind: Space.of_definition,
    Listed.kind: Listed.of_definition,
    Structures.kind: Structures.of_definition,
}
"""Kind of candidates, as the header of a run names it -> what makes them of their definition and records."""

Kind_co = TypeVar("Kind_co", bound=Candidates, default=Candidates, covariant=True)


@dataclass(frozen=True)
class ModelReference:
    """A model as a worker finds it, and how it knows that it found the right one.

    Attributes:
        name: Of the model.
        path: Of its weights.
        digest: Of its weights and settings.
        kernel: Name and version of what evaluates it on CPUs.
    """

    name: str
    path: str
    digest: str
    kernel: str


@dataclass(frozen=True)
class Plan(Generic[Kind_co]):
    """What to compute: workers need nothing else.

    Attributes:
        candidates: An enumerated space, the rows of a list, or structures.
        filters: In the order in which they are applied.
        model: What predicts.
        stable_at: Energy above hull, eV/atom, up to which `p_stable` calls a candidate stable.
        states: Oxidation states to choose from.
        unplaced: Elements that were named but fit no site, for a note to the user.
        cascade: What looks at the candidates before the model does, if anything.
        competing: Source of the user's competing phases, in words; empty without any.
        sort: Columns that its recipe ranks by, and later rankings that name none.
    """

    candidates: Kind_co
    filters: tuple[Filter, ...]
    model: ModelReference
    stable_at: float = STABLE_AT
    states: StateSet = ICSD
    unplaced: tuple[str, ...] = ()
    cascade: Cascade | None = None
    competing: str = ""
    sort: str = SORT

    @property
    def records(self) -> Records | None:
        """What a run is given to keep: the rows of a list, structures, or a cascade."""
        return self.candidates.records if self.cascade is None else self.cascade.records

    def header(self, block_rows: int) -> Header:
        """Make the header of a run of this plan, from which `from_header` makes the plan again."""
        records, cascade = self.records, "" if self.cascade is None else self.cascade.measured.by
        return Header(
            rows=self.candidates.count,
            block_rows=block_rows,
            columns=self.candidates.columns(self.stable_at),
            recipe={
                "model": self.model.name,
                "stable_at": self.stable_at,
                "states": self.states.definition,
                "cascade": cascade,
            },
            space={"kind": self.candidates.kind, **self.candidates.definition},
            filters=tuple(str(chosen) for chosen in self.filters),
            model=self.model.path,
            model_digest=self.model.digest,
            code_version=__version__,
            versions=decisive(),
            kernel=self.model.kernel,
            remarks={"hull": read_card(self.model.path).hull, "competing phases": self.competing, "sort": self.sort},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            records="" if records is None else records.index.digest,
        )


def make_plan(recipe: Recipe) -> Plan:
    """Resolve a recipe: sites, candidates, filters, model.

    Raises:
        UserError: An element, filter, file or model is unknown, there are no candidates, or the model is not for them.
    """
    candidates: Candidates
    unplaced: tuple[str, ...] = ()
    if recipe.kind == "structures":
        candidates = read_structures(recipe.paths)
    elif recipe.kind == "list":
        candidates = read_candidates(recipe.listed_in, recipe.prototype, strict=recipe.strict)
    else:
        sites = _sites(recipe)
        candidates, unplaced = _space(recipe, sites), symbols(sites.unplaced)
    model = recipe.model or default_model(candidates)
    filters = tuple(dict.fromkeys(map(parse_filter, recipe.chosen_filters)))
    reference = _refer(model)
    if reason := candidates.unfit(read_card(reference.path)):
        raise UserError(f"`model` {model}: {reason}. `screen models` lists what each model takes.")
    states = read_states(recipe.oxidation_states)
    candidates = _noted(candidates, reference)
    competing = str(read_phases(recipe.competing_phases).source) if recipe.competing_phases else ""
    return Plan(
        candidates, filters, reference, recipe.stable_at, states, unplaced, competing=competing, sort=recipe.sort
    )


def from_header(header: Header, records: Records | None) -> Plan:
    """Make the plan of a run; the inverse of `Plan.header`.

    Args:
        header: Of the run.
        records: Of the run, if it has any.
    """
    model = ModelReference(header.recipe["model"], header.model, header.model_digest, header.kernel)
    definition = {name: value for name, value in header.space.items() if name != "kind"}
    candidates = _noted(KINDS[header.space["kind"]](definition, records), model)
    filters, states = tuple(parse_filter(text) for text in header.filters), states_of(header.recipe["states"])
    cascade = Cascade.of_records(records) if header.recipe["cascade"] and records is not None else None
    sort = header.remarks.get("sort", SORT)
    return Plan(candidates, filters, model, header.recipe["stable_at"], states, cascade=cascade, sort=sort)


def _noted(candidates: Candidates, model: ModelReference) -> Candidates:
    """Add the notes that every ranking has."""
    of_doubles = (OrderOfB(),) if len([name for name in candidates.name_columns if name.startswith("B")]) == 2 else ()
    return candidates.noted(*of_doubles, TrainingRows(model.name, model.path))


def plan_of(url: str) -> Plan:
    """Return the plan of the run at a URL.

    Raises:
        UserError: There is no run, or its header or records are damaged.
    """
    return from_header(load_header(url), load_records(url))


def _space(recipe: Recipe, sites: Sites) -> Space:
    if recipe.kind == "double-perovskites":
        return double_perovskites(sites.A, sites.B, sites.X)
    return perovskites(sites.A, sites.B, sites.X, recipe.anions)


def _sites(recipe: Recipe) -> Sites:
    if recipe.elements:
        return assign_sites(parse_elements(recipe.elements), PROTOTYPES[PROTOTYPE_OF[recipe.kind]])
    return Sites(parse_elements(recipe.a), parse_elements(recipe.b), parse_elements(recipe.x), ())


def _refer(model: str) -> ModelReference:
    path = weights_path(model)
    card = read_card(path)
    kernel = name_kernel(card.settings, candidates=card.input == "prototype")
    return ModelReference(card.name, str(path.resolve()), card.digest, kernel)
