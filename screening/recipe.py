"""A recipe: everything that a screen is asked for, from the command line or from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cgcnn.errors import UserError
from cgcnn.files import find_recipe, read_text
from cgcnn.models.card import model_files

Symbols = tuple[str, ...]

PROTOTYPE_OF = {"perovskites": "cubic-perovskite", "double-perovskites": "double-perovskite"}
"""The prototype of the candidates that a kind of screen enumerates."""

DEFAULT_FILTERS = ("charge", "sites", "redox", "tau=4.8")
"""Filters where the sites are worked out from elements. τ goes further than its own threshold of 4.18, where every
second compound is a perovskite: CsPbI3 has 4.30, CaZrS3 4.55."""

SORT = "e_above_hull"
"""Column to rank by where nobody names one."""
SHOWN = 20
"""Rows that are shown, and CIF files, unless `top` says otherwise."""

STABLE_AT = 0.05
"""Energy above hull, eV/atom, up to which `p_stable` calls a candidate stable unless `stable_at` says otherwise."""


class Recipe(BaseModel):
    """What to screen and where the results go; the keys are the names of the command line's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str = ""
    kind: Literal["perovskites", "double-perovskites", "list", "structures"]
    prototype: str | None = None
    elements: Symbols = ()
    a: Symbols = ()
    b: Symbols = ()
    x: Symbols = ()
    anions: int = Field(default=1, ge=1, le=3)
    file: Path | None = None
    strict: bool = False
    paths: tuple[Path, ...] = ()
    model: str | None = None
    filters: Symbols = ()
    no_filter: bool = False
    oxidation_states: str = "icsd"
    cascade: bool = False
    stable_at: float = Field(default=STABLE_AT, allow_inf_nan=False)
    sort: str = SORT
    top: int | None = Field(default=None, ge=1)
    group_by: str | None = None
    per_group: int = Field(default=1, ge=1)
    prefer_known: bool = False
    known: Path | None = None
    drop_known: bool = False
    competing_phases: tuple[Path, ...] = ()
    exclude_self: bool = False
    hull_check: int = Field(default=1000, ge=0)
    out: str | None = None
    csv: Path | None = None
    cif: Path | None = None
    cluster: str = "local"
    workers: int | None = Field(default=None, ge=1)
    share: str = "1/1"
    block_size: int | None = Field(default=None, ge=1)

    @field_validator("elements", "a", "b", "x", mode="before")
    @classmethod
    def _may_be_one_text(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("competing_phases", mode="before")
    @classmethod
    def _may_be_one_path(cls, value: object) -> object:
        return (value,) if isinstance(value, (str, Path)) else value

    @field_validator("prototype", "model", "sort", "out", "csv", "cif", "file", "cluster", "share", mode="before")
    @classmethod
    def _is_not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("is empty: give a value, or leave it out")
        return value

    @model_validator(mode="after")
    def _candidates_are_named_once(self) -> Self:
        if self.prototype is not None and self.kind != "list":
            raise ValueError('a prototype goes with kind = "list"; other kinds have theirs')
        if self.strict and self.kind != "list":
            raise ValueError('strict goes with kind = "list"')
        if self.cascade and self.kind not in PROTOTYPE_OF:
            raise ValueError("a cascade is for spaces that elements make; lists and structures are screened without")
        if self.kind == "structures":
            self._check_structures()
        elif self.paths:
            raise ValueError('paths go with kind = "structures"')
        elif self.kind == "list":
            if self.file is None or self.elements or self.a or self.b or self.x:
                raise ValueError("a list of candidates takes a file, and no elements or sites")
        elif self.file is not None:
            raise ValueError('a file of candidates goes with kind = "list"')
        else:
            self._check_sites()
        return self

    def _check_sites(self) -> None:
        sites = (self.a, self.b, self.x)
        if self.kind == "double-perovskites" and self.anions > 1:
            raise ValueError("a double perovskite has one kind of X here; leave anions out")
        if bool(self.elements) == any(sites):
            raise ValueError("name either `elements`, or the sites `a`, `b` and `x`")
        if any(sites) and not all(sites):
            missing = ", ".join(f"`{name}`" for name in "abx" if not getattr(self, name))
            raise ValueError(f"{missing} missing: name all three of `a`, `b` and `x`, or `elements` alone")

    def _check_structures(self) -> None:
        if not self.paths or self.file is not None or self.elements or self.a or self.b or self.x:
            raise ValueError("structures take paths, and no elements, sites or file")
        if self.filters:
            raise ValueError("structures have no sites A, B and X, which filters look at; leave the filters out")

    @property
    def listed_in(self) -> Path:
        """The file of a list of candidates.

        Raises:
            UserError: The recipe is of another kind.
        """
        if self.file is None:
            raise UserError("a list of candidates takes a `file`")
        return self.file

    @property
    def inputs(self) -> tuple[str | Path | None, ...]:
        """The files and folders that are read, besides what the ranking reads; names of what is shipped among them."""
        return (self.file, *self.paths, self.oxidation_states, self.cluster, *model_files(self.model))

    @property
    def chosen_filters(self) -> Symbols:
        """The filters to apply: those of chemistry where it works out the sites, and those asked for beside them.

        With `no_filter` only those asked for.
        """
        usual = DEFAULT_FILTERS if self.elements and not self.no_filter else ()
        return tuple(dict.fromkeys((*usual, *self.filters)))


def make_recipe(**settings: object) -> Recipe:
    """Make a recipe from settings, where None means: not given.

    Raises:
        UserError: A setting is unknown, contradicts another, or has a value out of range.
    """
    return _validated({name: value for name, value in settings.items() if value is not None}, source="")


def read_recipe(name_or_path: str, **overrides: object) -> Recipe:
    """Read a shipped recipe by name, or any by path; paths in it are relative to the working directory.

    Args:
        name_or_path: Such as "castelli-grid", or a TOML file.
        overrides: Settings that replace those of the file, where not None; but `filters` are added to those of the
            file, unless `no_filter` says to begin without any.

    Raises:
        UserError: There is no such recipe, it is not TOML, or a setting is unknown or out of range.
    """
    path = find_recipe(name_or_path)
    try:
        settings = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a TOML file: {error}.") from None
    if "kind" not in settings:
        raise UserError(f"{path}: says nothing to screen (no `kind`). Recipes of trainings go to `cgcnn train`.")
    given = {name: value for name, value in overrides.items() if value not in (None, ())}
    own = settings.get("filters")
    if isinstance(own, list) and not given.get("no_filter"):
        given["filters"] = (*own, *cast("Symbols", given.get("filters", ())))
    elif given.get("no_filter"):
        given.setdefault("filters", ())
    return _validated(settings | given, source=f"{path}: ")


def _validated(settings: dict[str, object], source: str) -> Recipe:
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        setting, *inner = map(str, first["loc"] or ("",))
        where = f"`{setting}`{'.'.join(['', *inner])}: " if setting else ""
        given = f" (given: {first['input']!r})" if setting else ""
        raise UserError(f"{source}{where}{first['msg'].removeprefix('Value error, ')}{given}") from None
