"""Flows' functions of every kind, described by us and by the field's own client; needs pydantic alone."""

# ruff: noqa: B006, B008, RUF013, UP045  # signatures as people write them, wise or not

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

from pydantic import BaseModel, Field


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    a: int = 1
    when: datetime.date


class Model(BaseModel):
    """What it is."""

    inner: Inner
    names: list[str] = []


@dataclass
class Data:
    x: int
    y: str = "q"


class Other:
    pass


def plain(a, b: int, c: str = "x", *, d: Optional[float] = None):
    """Do a thing.

    Args:
        a: the first
        b: the second
          goes on
        c (str): third
    """


def choices(
    x: Colour,
    y: Literal["a", "b"] = "a",
    z: list[int] = [1],
    w: dict[str, Any] = {},
    u: int | str = 3,
):
    pass


def models(m: Model, n: Model = Model(inner=Inner(when=datetime.date(2020, 1, 1))), d: Data = Data(1)):
    pass


def values(
    dt: datetime.datetime,
    da: datetime.date,
    td: datetime.timedelta = datetime.timedelta(minutes=5),
    u: uuid.UUID = uuid.UUID(int=1),
    p: pathlib.Path = pathlib.Path("/x"),
    t: datetime.time = None,  # type: ignore[assignment]
    dec: decimal.Decimal = decimal.Decimal("1.5"),
):
    pass


def foreign(o: Other, o2: Other = Other(), *args: int, **kw: str):
    pass


def annotated(
    x: Annotated[int, Field(ge=1)] = 3,
    s: set[int] = {1},
    tup: tuple[int, str] = (1, "a"),
    by: bytes = b"x",
    fn: Callable[..., Any] = print,
    copy: bool = True,
):
    pass


def nothing():
    pass


def hidden(x: "Nope" = 1, y: "int" = 2):  # type: ignore[name-defined]  # noqa: F821, UP037
    pass


def fields(
    x: int = Field(default=3, description="d"),
    y: Colour = Colour.RED,
    z: list[Colour] = [Colour.BLUE],
    n: None = None,
    any: Any = None,
):
    pass


def bare(first, *args, **kwargs):
    "Only a line"


def odd_names(validate: int, schema_json: str, json: str = "x"):
    pass


def unhashable(x: list[Inner], y: dict[str, list[Colour]], z: Optional[Model] = None):
    """Sentence.

    Args:
        x: many
    Returns:
        y: this is no parameter
    """


FUNCTIONS = [
    plain, choices, models, values, foreign, annotated, nothing, hidden, fields, bare, odd_names, unhashable,
]  # fmt: skip
