"""Whatever is sent, in the contract's fields or beside them: no operation falls over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.databases import emptied
from tests.server.serving import Api, serving

from .facts import ENDPOINTS, SCHEMAS, inner, union

_ID = "01a20879-4912-75ac-8e3e-b5bcc94ae52f"
_TEXTS = [
    "",
    "\x00",
    "a",
    "\ufffe",
    "é",
    "%",
    "' OR 1=1 --",
    "9" * 400,
    "2026-11-23 11:02:03.4+00:00",
    "0001-01-01",
    _ID,
]
_NUMBERS = [0, -1, 1, 201, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -0.5]
_plain = st.sampled_from([None, True, *_TEXTS, *_NUMBERS])
_junk = st.recursive(
    _plain,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(_TEXTS), some, max_size=3),
    max_leaves=6,
)


def values(text: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Draw a value that is mostly of a type as the facts write it, and now and then is not."""
    fitting = [_fitting(part, depth) for part in union(text)]
    return st.one_of(*fitting, *fitting, _junk)


def _fitting(text: str, depth: int) -> st.SearchStrategy[Any]:
    if text in SCHEMAS and "enum" in SCHEMAS[text]:
        return st.sampled_from(SCHEMAS[text]["enum"])
    if text in SCHEMAS:
        fields = SCHEMAS[text].get("fields", {}) if depth < 5 else {}
        required = {name for name, field in fields.items() if field.get("required")}
        drawn = {
            name: st.deferred(lambda f=field: values(f["type"], depth + 1)) for name, field in fields.items()
        }
        return st.fixed_dictionaries(
            {name: drawn[name] for name in required},
            optional={name: drawn[name] for name in fields if name not in required},
        )
    if text.startswith("array<"):
        return st.lists(st.deferred(lambda: values(inner(text), depth + 1)), max_size=3)
    if text.startswith("map<"):
        return st.dictionaries(
            st.sampled_from(_TEXTS), st.deferred(lambda: values(inner(text), depth + 1)), max_size=2
        )
    known: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(_TEXTS),
        "string(uuid)": st.just(_ID),
        "string(date-time)": st.datetimes().map(lambda moment: moment.isoformat()),
        "boolean": st.booleans(),
        "integer": st.sampled_from(_NUMBERS[:6]),
        "number": st.sampled_from(_NUMBERS),
        "null": st.none(),
    }
    return known.get(text, _junk)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all that is sent; what one request leaves behind, the next one meets."""
    home: Path = tmp_path_factory.mktemp("any")
    with emptied("", home) as database, serving(database) as api:
        yield api


def _deployed(api: Api, run: dict[str, Any]) -> list[str]:
    """Return what names a pool, its queue, a deployment in it and its schedule: what other requests left of them."""
    pool = {"name": "alpha", "type": "process"}
    api.post("/work_pools/", json=pool)
    rule = {"schedule": {"cron": "@daily"}, "slug": "daily"}
    body = {"name": "alpha", "flow_id": run["flow_id"], "work_pool_name": "alpha", "schedules": [rule]}
    made = api.post("/deployments/", json=body).json()
    return ["alpha", made["id"], made["work_queue_id"], made["schedules"][0]["id"]]


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_an_operation_answers_whatever_it_is_sent(api: Api, name: str) -> None:
    """With a status below 500, and below that with a body that says what is wrong."""
    method, path = name.split()
    facts = ENDPOINTS[name]
    body = values(facts["body"]["type"]) if facts.get("body") else st.none()
    known = api.flow_run()
    ids = st.sampled_from([known["id"], known["flow_id"], *_deployed(api, known), _ID, *map(quote, _TEXTS)])

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), database=None)
    @given(sent=body, id=ids, query=st.sampled_from(["", *map(quote, _TEXTS)]))
    def ask(sent: Any, id: str, query: str) -> None:
        at = re.sub(r"{\w+}", id, path)
        parameters = {each["name"]: query for each in facts.get("parameters") or [] if each["in"] == "query"}
        answer = api.request(method, at, params=parameters, **({} if sent is None else {"json": sent}))

        assert answer.status_code < 500, answer.text
        assert answer.status_code < 400 or answer.json()

    ask()
