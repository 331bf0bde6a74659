"""How arguments reach a flow: bound, fitted to the type hints, and written down."""

# ruff: noqa: UP007, UP045  # the older spellings of hints are tested too

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import pydantic
import pytest

from headrace import flow, task
from headrace.exceptions import ParameterBindError, ParameterTypeError
from headrace.testing import Harness

from .conftest import evidence


class Item(pydantic.BaseModel):
    name: str
    price: float = 1.0


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Custom:
    """A class that pydantic knows nothing of."""


def recorded(ran: Harness, name: str) -> dict[str, Any]:
    (run,) = ran.flow_runs(name)
    return json.loads(bytes(run.entry.parameters))


@pytest.mark.parametrize(
    ("hint", "given", "expected"),
    [
        (int, "3", 3),
        (int, 3, 3),
        (float, 2, 2.0),
        (bool, "true", True),
        (str, "text", "text"),
        (bytes, b"x", b"x"),
        (Optional[int], None, None),
        (Optional[int], "4", 4),
        (Union[int, str], "x", "x"),
        (int | None, "5", 5),
        (date, "2024-02-29", date(2024, 2, 29)),
        (datetime, "2024-02-29T12:00:00", datetime(2024, 2, 29, 12)),
        (timedelta, 90, timedelta(seconds=90)),
        (Path, "/x/y", Path("/x/y")),
        (UUID, "12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
        (list[int], ["1", 2], [1, 2]),
        (dict[str, float], {"a": "1.5"}, {"a": 1.5}),
        (tuple[int, str], ["1", "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (Colour, "red", Colour.RED),
        (Literal["a", "b"], "a", "a"),
        (Annotated[int, pydantic.Field(gt=0)], "7", 7),
        (Item, {"name": "pen", "price": "2.5"}, Item(name="pen", price=2.5)),
        (list[Item], [{"name": "pen"}], [Item(name="pen")]),
        (Optional[Item], {"name": "pen"}, Item(name="pen")),
        (Point, {"x": "1", "y": 2}, Point(1, 2)),
        (Any, "anything", "anything"),
    ],
)
def test_an_argument_becomes_what_its_type_hint_says(hint: Any, given: Any, expected: Any) -> None:
    """Values are coerced as pydantic does, and types that fit are left alone."""

    def body(value: Any) -> Any:
        return value

    body.__annotations__["value"] = hint

    result = flow(body)(given)

    assert result == expected
    assert type(result) is type(expected)


def test_an_object_of_a_class_of_the_users_own_is_handed_over_as_it_is() -> None:
    """A class that pydantic does not know is checked by isinstance."""
    given = Custom()

    @flow
    def keeps(thing: Custom) -> Custom:
        return thing

    assert keeps(given) is given
    with pytest.raises(ParameterTypeError, match=r"thing: .*Custom"):
        keeps("no")  # type: ignore[arg-type]


def test_a_value_that_does_not_fit_fails_the_run_and_names_the_field(ran: Harness) -> None:
    """The error says which parameters, why, and what was given; the run is Failed and has never run."""

    @flow(name="order")
    def order(count: int, item: Item, note: str = "") -> None:
        raise AssertionError("it must not run")

    with pytest.raises(ParameterTypeError) as caught:
        order("many", {"price": 1})  # type: ignore[arg-type]

    (run,) = ran.flow_runs("order")
    assert "count: " in str(caught.value)
    assert "'many'" in str(caught.value)
    assert "item.name: " in str(caught.value)
    assert [row.name for row in run.history] == ["Pending", "Failed"]
    assert evidence(run)["type"] == "headrace.errors.ParameterTypeError"


def test_a_call_that_does_not_fit_the_signature_makes_no_run(ran: Harness) -> None:
    """It is an error of the caller, at once, as for any function."""

    @flow
    def f(x: int) -> int:
        return x

    @task
    def t(x: int) -> int:
        return x

    for call in (f, t):
        with pytest.raises(ParameterBindError, match="missing a required argument: 'x'"):
            call()  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            call(1, y=2)  # type: ignore[call-overload]

    assert ran.runs() == []


def test_validation_can_be_turned_off() -> None:
    """``validate_parameters=False`` hands over what was given."""

    @flow(validate_parameters=False)
    def f(x: int) -> Any:
        return x

    assert f("text") == "text"  # type: ignore[arg-type]


def test_tasks_do_not_validate() -> None:
    """Only flows are called from outside; a task is called by code."""

    @task
    def t(x: int) -> Any:
        return x

    assert t("text") == "text"  # type: ignore[arg-type]


def test_defaults_are_applied_fitted_and_recorded(ran: Harness) -> None:
    """The run's parameters hold what it ran with, defaults included."""

    @flow(name="defaults")
    def f(day: date = "2024-01-02", count: int = 3) -> Any:  # type: ignore[assignment]
        return day, count

    assert f() == (date(2024, 1, 2), 3)
    assert recorded(ran, "defaults") == {"day": "2024-01-02", "count": 3}


def test_every_kind_of_parameter_arrives_where_it_belongs(ran: Harness) -> None:
    """Positional only, variable, keyword only: each as Python binds it, with hints applied to each value."""

    @flow(name="kinds")
    def f(a: int, /, b: int, *rest: int, c: int = 0, **more: int) -> Any:
        return a, b, rest, c, more

    assert f("1", "2", "3", 4, c="5", d="6") == (1, 2, (3, 4), 5, {"d": 6})
    with pytest.raises(ParameterTypeError, match=r"rest\.1: "):
        f(1, 2, 3, "x")  # type: ignore[arg-type]


def test_a_hint_that_names_something_unknown_leaves_its_own_value_alone() -> None:
    """One hint that cannot be read does not turn the others off."""
    scope: dict[str, Any] = {}
    exec("def f(a: int, b: 'NoSuchName', c: 'int') -> object: return a, b, c", scope)

    assert flow(scope["f"])("1", "2", "3") == (1, "2", 3)


def test_hints_may_name_classes_that_come_later() -> None:
    """Hints are read at the first call, not when the flow is made."""

    @flow
    def f(later: Later) -> Any:
        return later.x

    assert f({"x": "3"}) == 3  # type: ignore[arg-type]


class Later(pydantic.BaseModel):
    x: int


def test_what_json_cannot_hold_is_recorded_by_its_repr(ran: Harness) -> None:
    """The record of parameters never fails a run."""

    @flow(name="odd")
    def f(thing: Any, model: Item, colour: Colour, hook: Callable[..., Any], text: str) -> None:
        return None

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    f(Broken(), Item(name="pen"), Colour.RED, len, "\ud800 grüße")

    found = recorded(ran, "odd")
    assert found["thing"] == "<Broken>"
    assert found["model"] == {"name": "pen", "price": 1.0}
    assert found["colour"] == "red"
    assert "len" in found["hook"]
    assert "grüße" in found["text"]


def test_parameters_that_are_too_large_are_recorded_by_their_size(ran: Harness) -> None:
    """A journal is no place for a data set."""

    @flow(name="large")
    def f(data: list[int], name: str) -> int:
        return len(data)

    assert f(list(range(300_000)), "n") == 300_000
    assert recorded(ran, "large")["name"] == "n"
    assert "bytes of JSON" in recorded(ran, "large")["data"]


def test_parameters_can_be_fitted_without_a_run(ran: Harness) -> None:
    """``validate_parameters(...)`` is the same check, for callers that only ask."""

    @flow
    def f(x: int, y: date = date(2024, 1, 1)) -> None:
        return None

    assert f.validate_parameters({"x": "1"}) == {"x": 1, "y": date(2024, 1, 1)}
    with pytest.raises(ParameterBindError):
        f.validate_parameters({"z": 1})
    assert ran.runs() == []


def test_methods_are_flows_and_tasks_too() -> None:
    """``self`` is bound as for any method and the decorator's options are kept; also for class and static methods."""

    class Shop:
        def __init__(self) -> None:
            self.tries = 0

        @flow(name="buy", retries=1)
        def buy(self, count: int) -> int:
            self.tries += 1
            if self.tries == 1:
                raise ValueError("sold out")
            return self.pay(count)

        @task(retries=2)
        def pay(self, count: int) -> int:
            return count * 2

        @classmethod
        @task
        def made(cls, x: int) -> Any:
            return cls.__name__, x

        @staticmethod
        @task
        def free(x: int) -> int:
            return x

    shop = Shop()

    assert shop.buy("2") == 4  # type: ignore[arg-type]
    assert shop.tries == 2
    assert shop.buy.name == "buy"
    assert shop.pay.retries == 2
    assert Shop.made(1) == ("Shop", 1)
    assert shop.free(3) == 3


def test_closures_and_other_callables_are_flows_and_tasks() -> None:
    """A closure, a partial and an object with ``__call__`` have a name and work."""
    from functools import partial

    def maker(n: int) -> Any:
        @task
        def add(x: int) -> int:
            return x + n

        return add

    class Adder:
        def __call__(self, x: int) -> int:
            return x + 100

    assert maker(3)(1) == 4
    assert task(partial(pow, 2))(3) == 8
    assert flow(partial(divmod, 7), validate_parameters=False).name == "divmod"
    assert task(Adder()).name == "Adder"
    assert task(Adder())(1) == 101
