"""Jobs: templates filled in as the field does it, and wrong values told by setting, value and what is taken."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import JobError
from headrace.model import jobs
from headrace.model.jobs import SETTINGS, TEMPLATE, check, environment, job_of, laid_over
from headrace.model.orders import Job

Json = dict[str, Any]

FOREIGN: Json = {
    "job_configuration": {
        "command": "{{ command }}",
        "env": "{{ env }}",
        "labels": "{{ labels }}",
        "name": "{{ name }}",
        "stream_output": "{{ stream_output }}",
        "working_dir": "{{ working_dir }}",
    },
    "variables": {
        "type": "object",
        "properties": {
            "name": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "command": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "stream_output": {"type": "boolean", "default": True},
            "working_dir": {
                "anyOf": [{"type": "string", "format": "path"}, {"type": "null"}],
                "default": None,
            },
        },
    },
}
"""What another tool's `work-pool create --type process` stores."""


def template(configuration: Json, **properties: Json) -> Json:
    """Return a pool's template."""
    return {
        "job_configuration": configuration,
        "variables": {"type": "object", "properties": properties},
    }


@pytest.mark.parametrize("pool", [{}, TEMPLATE, FOREIGN], ids=["empty", "ours", "foreign"])
def test_without_variables_a_job_is_the_usual_one(pool: Json) -> None:
    """Nothing set is nothing asked for."""
    assert job_of(pool) == job_of(pool, {}, {}) == Job()


@pytest.mark.parametrize("pool", [{}, TEMPLATE, FOREIGN], ids=["empty", "ours", "foreign"])
def test_every_setting_is_taken(pool: Json) -> None:
    """Also those that a pool of another tool has never heard of."""
    job = job_of(
        pool,
        {
            "env": {"A": "1", "B": None},
            "working_dir": "/srv/etl",
            "memory_limit": "512MB",
            "timeout": 60,
            "grace_seconds": "2.5",
            "preload": "pandas, numpy.linalg",
            "stream_output": False,
            "name": "etl",
            "labels": {"team": "data"},
        },
    )
    assert job == Job(
        env={"A": "1", "B": None},
        working_dir="/srv/etl",
        memory_limit=512_000_000,
        timeout=60.0,
        grace_seconds=2.5,
        preload=["pandas", "numpy.linalg"],
        stream_output=False,
        name="etl",
        labels={"team": "data"},
    )


def test_a_run_wins_over_its_deployment_and_that_over_the_pool() -> None:
    """Values are replaced; the environment is merged."""
    pool = template(
        {"env": "{{ env }}", "working_dir": "{{ working_dir }}"},
        env={"type": "object", "default": {"A": "pool", "B": "pool", "C": "pool"}},
        working_dir={"type": "string", "default": "/pool"},
    )
    deployment = {"env": {"B": "deployment", "C": "deployment"}, "working_dir": "/deployment"}

    assert job_of(pool).working_dir == "/pool"
    assert job_of(pool, deployment).working_dir == "/deployment"
    job = job_of(pool, deployment, {"env": {"C": "run"}, "working_dir": "/run"})
    assert (job.env, job.working_dir) == ({"A": "pool", "B": "deployment", "C": "run"}, "/run")


def test_a_dotted_name_changes_one_entry() -> None:
    """Over the deployment's object; an entry said outright in the same place wins."""
    job = job_of(
        {},
        {"env": {"A": "1", "B": "1"}, "labels": {"x": "1"}},
        {"env.B": "2", "env.C": "2", "labels.y": "2", "env": {"C": "outright"}},
    )
    assert job.env == {"A": "1", "B": "2", "C": "outright"}
    assert job.labels == {"x": "1", "y": "2"}


def test_an_environment_spelled_out_in_the_template_is_kept_and_added_to() -> None:
    """As the field does, whether or not it has a place for the variables' own."""
    pool = template(
        {"env": {"FIXED": "1", "ZONE": "{{ zone }}", "GONE": "{{ gone }}"}}, zone={}, gone={}, env={}
    )

    assert job_of(pool, {"zone": "eu", "env": {"MORE": "2"}}).env == {"FIXED": "1", "ZONE": "eu", "MORE": "2"}


def test_a_placeholder_in_a_text_becomes_text_and_alone_keeps_its_type() -> None:
    """Also twice, and without a value it is empty."""
    pool = template(
        {
            "working_dir": "/srv/{{team}}/{{ number }}{{ none }}",
            "timeout": " {{ number }} ",
            "env": {"N": "{{ number }}"},
        },
        team={"default": "data"},
        number={"default": 7},
        none={},
    )
    job = job_of(pool)
    assert (job.working_dir, job.timeout, job.env) == ("/srv/data/7", 7.0, {"N": "7"})


def test_a_variable_of_the_workers_environment_is_put_in_but_never_into_the_environment() -> None:
    """An order is written to disk: there the reference stands, and what starts the run looks it up."""
    variables = {
        "working_dir": "{{ $BASE }}/etl",
        "command": "{{ $NONE }}",
        "env": {"TOKEN": "{{ $SECRET }}", "U": "u-{{ $SECRET }}"},
    }
    job = job_of({}, variables, environ={"BASE": "/srv", "SECRET": "hush"})

    assert (job.working_dir, job.command) == ("/srv/etl", None)
    assert job.env == {"TOKEN": "{{ $SECRET }}", "U": "u-{{ $SECRET }}"}
    assert environment(job, {"SECRET": "hush", "TOKEN": "old"}) == {
        "SECRET": "hush",
        "TOKEN": "hush",
        "U": "u-hush",
    }
    assert environment(job, {"TOKEN": "old", "X": "1"}) == {"X": "1"}
    with pytest.raises(JobError, match=r"working_dir refers to \$BASE, which the worker's environment"):
        job_of({}, variables, environ={})


def test_an_environment_sets_and_unsets() -> None:
    """What it does not name stays."""
    assert environment(Job(env={"A": "new", "B": None}), {"A": "old", "B": "old", "C": "old"}) == {
        "A": "new",
        "C": "old",
    }


@pytest.mark.parametrize(
    "variables", [{"command": "nice headrace flow-run execute"}, {"python": "/opt/py/bin/python"}]
)
def test_a_command_or_another_python_starts_fresh(variables: Json) -> None:
    """Neither can be a fork of the worker's template process."""
    assert job_of({}, {**variables, "start": "warm"}).start == "fresh"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"memory_limit": "lots"}, ["memory_limit", "'lots'", "512MB"]),
        ({"memory_limit": 0}, ["memory_limit", "is 0", "above 0"]),
        ({"timeout": "soon"}, ["timeout", "'soon'", "seconds above 0"]),
        ({"timeout": 0}, ["timeout", "is 0", "above 0"]),
        ({"timeout": True}, ["timeout", "True"]),
        ({"timeout": float("nan")}, ["timeout", "nan"]),
        ({"grace_seconds": -1}, ["grace_seconds", "-1", "0 or more"]),
        ({"start": "hot"}, ["start", "'hot'", "warm or fresh"]),
        ({"stream_output": "maybe"}, ["stream_output", "true or false"]),
        ({"preload": 5}, ["preload", "5", "modules"]),
        ({"preload": ["pandas", "no-module"]}, ["preload", "'no-module'"]),
        ({"env": ["A=1"]}, ["env", "a list", "an object of texts"]),
        ({"env": {"A": {"b": "hush"}}}, ["env", "an object for A"]),
        ({"env": {"A=B": "1"}}, ["env", "'A=B'"]),
        ({"env": {"A": "a\0b"}}, ["env", "NUL", "A"]),
        ({"labels": {"a": []}}, ["labels", "an object of texts"]),
        ({"working_dir": 5}, ["working_dir", "5", "path"]),
        ({"command": "python 'x"}, ["command", "quotation"]),
        ({"command": ["python"]}, ["command", "command line"]),
        ({"python": {}}, ["python", "interpreter"]),
        ({"memory_limt": "1GB"}, ["'memory_limt'", "'memory_limit'"]),
        ({"name": "{{ prefect.variables.x }}"}, ["name", "prefect.variables.x", "{{ $NAME }}"]),
        ({"env": {"A": "{{ prefect.blocks.secret.x }}"}}, ["env", "prefect.blocks.secret.x"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_name(variables: Json, words: list[str]) -> None:
    """The error says which setting, what it is, what it takes."""
    with pytest.raises(JobError) as caught:
        job_of({}, variables)
    assert [word for word in words if word not in str(caught.value)] == []
    assert caught.value.setting in jobs.BY_NAME
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "pool",
    [
        {"variables": {}},
        {"job_configuration": {}},
        {"job_configuration": [], "variables": {}},
        {"job_configuration": {}, "variables": {"properties": []}},
    ],
)
def test_a_template_that_is_none_is_refused(pool: Json) -> None:
    """With what one needs."""
    with pytest.raises(JobError, match="template") as caught:
        job_of(pool)
    assert caught.value.setting is None


def test_a_required_variable_must_come_from_somewhere() -> None:
    """The deployment or the run may give it."""
    pool = template({"working_dir": "/srv/{{ team }}"}, team={"type": "string"})
    pool["variables"]["required"] = ["team"]

    assert job_of(pool, {}, {"team": "data"}).working_dir == "/srv/data"
    with pytest.raises(JobError, match="requires the job variable 'team'"):
        job_of(pool, {"team": None})


def test_what_a_pool_holds_fast_no_deployment_changes() -> None:
    """A value without placeholder stays; so does a setting that is declared and has no place."""
    pool = template({"memory_limit": "1GB", "working_dir": "/srv"}, python={"type": "string"}, working_dir={})
    job = job_of(pool, {"memory_limit": "9GB", "python": "/mine", "working_dir": "/mine", "command": "mine"})

    assert (job.memory_limit, job.python, job.working_dir, job.command) == (10**9, None, "/srv", None)


def test_what_other_places_need_is_no_business_of_a_process() -> None:
    """A variable that is like none of ours has no effect; a deployment may move between pools."""
    assert job_of({}, {"image": "etl:1", "pod_watch_timeout_seconds": 60}) == Job()


def test_null_and_empty_texts_leave_it_to_the_worker() -> None:
    """So does a form that was left empty."""
    nothing: Json = {setting.name: None for setting in SETTINGS}
    assert job_of({}, {"working_dir": "/srv", "timeout": 5}, nothing) == Job()
    assert job_of({}, {"working_dir": "", "command": " ", "python": "", "name": ""}) == Job()


@pytest.mark.parametrize("variables", [{"timeout": "soon"}, {"env.A": {}}, {"env": 5}, {"preload": "a b-c"}])
def test_what_no_pool_can_take_is_refused_early(variables: Json) -> None:
    """Before a run is made; dotted names, too."""
    with pytest.raises(JobError):
        check(variables)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"timeout": 5},
        {"timeout": "{{ $T }}"},
        {"name": "{{ prefect.variables.x }}"},
        {"image": {}},
        {"start": None},
    ],
)
def test_what_somebody_may_fill_in_later_is_let_pass(variables: Json) -> None:
    """References are for the worker; unknown names for another pool."""
    check(variables)


_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["{{ env }}", "{{ $A }}", "1GB", "fresh"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
_NAMES = st.one_of(
    st.sampled_from([*jobs.BY_NAME, "env.A", "env.A.B", ".", "labels.", "$A", "prefect.x"]),
    st.text(max_size=8),
)
_VARIABLES = st.dictionaries(_NAMES, _VALUES, max_size=4)
_TEMPLATES = st.one_of(
    st.just({}),
    st.just(FOREIGN),
    st.fixed_dictionaries(
        {
            "job_configuration": st.dictionaries(_NAMES, _VALUES, max_size=4),
            "variables": st.fixed_dictionaries(
                {}, optional={"properties": st.dictionaries(_NAMES, _VALUES, max_size=3), "required": _VALUES}
            ),
        }
    ),
)


@given(_TEMPLATES, _VARIABLES, _VARIABLES)
def test_any_template_and_variables_make_a_job_or_a_job_error(pool: Json, below: Json, above: Json) -> None:
    """No other error reaches the worker, and what was given is left as it was."""
    given_ = copy.deepcopy([pool, below, above])
    try:
        job = job_of(pool, below, above, environ={"A": "a"})
    except JobError as error:
        assert str(error)
    else:
        assert isinstance(job, Job)
        environment(job, {"A": "a"})
    assert repr([pool, below, above]) == repr(given_)


@given(_VARIABLES)
def test_what_is_refused_early_would_have_been_refused_late(variables: Json) -> None:
    """In a pool that takes every variable."""
    try:
        check(variables)
    except JobError:
        with pytest.raises(JobError):
            job_of({}, variables)


@given(_VARIABLES)
def test_variables_laid_over_nothing_and_over_themselves_are_the_same(variables: Json) -> None:
    """Saying a thing twice is saying it once."""
    once = laid_over({}, variables)
    assert repr(laid_over(once, variables)) == repr(once)
