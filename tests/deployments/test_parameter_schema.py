"""The schema of a flow's parameters: what the field's own client makes, and what a docstring adds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from headrace import flow
from headrace.engine.parameter_docs import descriptions
from headrace.engine.parameter_schema import parameter_schema
from headrace.server.orchestration.parameters import misfits, schema_problem
from tests.contract.real_client import interpreter as interpreter

from . import signatures

_REAL = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import signatures
from prefect.utilities.callables import parameter_schema
print(json.dumps({f.__name__: parameter_schema(f).model_dump() for f in signatures.FUNCTIONS}))
"""


def schema_of(fn: Callable[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow(fn))


@pytest.fixture(scope="module")
def real(interpreter: Path) -> dict[str, Any]:
    """What the field's client makes of each function."""
    folder = str(Path(signatures.__file__).parent)
    done = subprocess.run(
        [str(interpreter), "-c", _REAL, folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.timeout(600)  # the client's environment may have to be made first
@pytest.mark.parametrize("fn", signatures.FUNCTIONS, ids=lambda fn: fn.__name__)
def test_a_schema_is_the_one_that_the_real_client_makes(real: dict[str, Any], fn: Callable[..., Any]) -> None:
    ours = schema_of(fn)

    assert json.loads(json.dumps(ours)) == real[fn.__name__]
    assert schema_problem(ours) is None


def test_names_that_models_do_not_take_are_taken() -> None:
    def odd(_under: int, model_config: str = "m", schema: int = 1) -> None: ...

    made = schema_of(odd)

    assert list(made["properties"]) == ["_under", "model_config", "schema"]
    assert made["required"] == ["_under"]
    assert made["properties"]["_under"]["type"] == "integer"


def test_what_a_hint_says_of_a_parameter_stays() -> None:
    """Also where there is a default."""

    def told(x: Annotated[int, Field(ge=1, description="how many")] = 3) -> None: ...

    assert schema_of(told)["properties"]["x"] == {
        "type": "integer", "minimum": 1, "description": "how many", "default": 3, "position": 0, "title": "x",
    }  # fmt: skip


def test_a_server_refuses_by_it_what_does_not_fit() -> None:
    made = schema_of(signatures.models)
    good = {"m": {"inner": {"when": "2026-11-23"}}}

    assert misfits(made, good) == []
    assert any(line.startswith("m.inner.when") for line in misfits(made, {"m": {"inner": {"when": 3}}}))
    assert misfits(made, {})


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(), min_size=1))
def test_defaults_and_requirements_follow_the_signature(defaults: dict[str, int]) -> None:
    """For any mix of parameters with and without a default."""
    text = ", ".join(
        f"{name}: int = {defaults[name]}" if name in defaults else f"{name}: int" for name in "abcdef"
    )
    names: dict[str, Any] = {}
    exec(f"def made(*, {text}): pass", names)
    schema = schema_of(names["made"])

    assert set(schema["required"]) == set("abcdef") - set(defaults)
    assert {n: r["default"] for n, r in schema["properties"].items() if "default" in r} == defaults
    assert [rule["position"] for rule in schema["properties"].values()] == list(range(6))


@pytest.mark.parametrize(
    "doc",
    [
        "Sum.\n\nArgs:\n    a: one\n        and more\n    b (int): two\n\nReturns:\n    c: no\n",
        "Sum.\n\n:param a: one\n    and more\n:param int b: two\n:return: c\n",
        "Sum.\n\nParameters\n----------\na : int\n    one\n    and more\nb\n    two\n\nReturns\n-------\nc\n    no\n",
    ],
    ids=["google", "sphinx", "numpy"],
)
def test_a_docstring_describes_parameters(doc: str) -> None:
    assert descriptions(doc) == {"a": "one\nand more", "b": "two"}


@given(st.text())
def test_any_docstring_can_be_read(doc: str) -> None:
    """Whatever people write, it is at worst no description."""
    assert all(text for text in descriptions(doc).values())
    assert all(text for text in descriptions(f"Args:\n    {doc}").values())
