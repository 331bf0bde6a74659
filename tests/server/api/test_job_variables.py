"""Job variables that no worker of the pool could use are refused before a run is made, with their name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from headrace.model.jobs import TEMPLATE
from tests.server.serving import Api

from .test_deployments import deploy, get, put, run

WRONG = {"memory_limit": "lots"}
GOOD = {"memory_limit": "512MB", "env": {"A": "1"}}


def pool(api: Api, name: str = "alpha", *, type: str = "process", **fields: Any) -> None:
    """Make a work pool."""
    assert api.post("/work_pools/", json={"name": name, "type": type, **fields}).status_code == 201


def reason(answer: httpx.Response) -> str:
    """Return why a deployment was refused."""
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["exception_detail"]
    assert problem["loc"] == ["body", "job_variables"]
    return str(problem["msg"])


@pytest.mark.parametrize("template", [{}, TEMPLATE])
def test_a_deployment_with_a_wrong_setting_is_not_made(api: Api, template: dict[str, Any]) -> None:
    """New, or changed by putting it again or by a patch; a good one stays as it was."""
    pool(api, base_job_template=template)
    assert "memory_limit is 'lots'" in reason(put(api, work_pool_name="alpha", job_variables=WRONG))
    id = deploy(api, work_pool_name="alpha", job_variables=GOOD)["id"]

    assert "512MB" in reason(put(api, job_variables=WRONG))
    assert "memory_limit" in reason(api.patch(f"/deployments/{id}", json={"job_variables": WRONG}))
    assert get(api, id)["job_variables"] == GOOD
    assert api.patch(f"/deployments/{id}", json={"job_variables": {"timeout": 5}}).status_code == 204


def test_a_run_with_a_wrong_setting_is_not_made(api: Api) -> None:
    """Also in bulk, where it does not hold up the others."""
    pool(api)
    id = deploy(api, work_pool_name="alpha", job_variables=GOOD)["id"]
    refused = run(api, id, job_variables={"env.A": {"b": 1}})
    bulk = api.post(
        f"/deployments/{id}/create_flow_run/bulk", json=[{"job_variables": WRONG}, {"job_variables": GOOD}]
    ).json()["results"]

    assert refused.status_code == 422
    assert "Validation failed for job variables: The job setting env has an object for A" in refused.text
    assert [each["status"] for each in bulk] == ["FAILED", "CREATED"]
    assert "memory_limit" in bulk[0]["error"]
    assert api.post("/flow_runs/count", json={}).json() == 1


def test_what_a_pools_own_schema_asks_for_is_held(api: Api) -> None:
    """In pools of any type: kinds, choices, limits; null asks for the default; what refers is let pass."""
    variables = {
        "type": "object",
        "properties": {
            "size": {"type": "string", "enum": ["s", "l"], "default": "s"},
            "team": {"type": "string"},
        },
        "required": ["team"],
    }
    pool(
        api,
        type="docker",
        base_job_template={"variables": variables, "job_configuration": {"size": "{{ size }}"}},
    )
    id = deploy(api, work_pool_name="alpha", job_variables={"size": "l", "memory_limit": "9 apples"})["id"]

    assert "size" in reason(put(api, job_variables={"size": "xl"}))
    for taken in ({"size": None}, {"size": "{{ $SIZE }}"}, {"other": []}):
        assert run(api, id, job_variables=taken).status_code == 201
    assert run(api, id, job_variables={"team": 5}).status_code == 422


def test_without_a_pool_there_is_nobody_to_say_what_fits(api: Api) -> None:
    """It is asked again when the deployment is given to a pool."""
    id = deploy(api, job_variables=WRONG)["id"]
    assert run(api, id, job_variables=WRONG).status_code == 201
    pool(api)

    assert "memory_limit" in reason(api.patch(f"/deployments/{id}", json={"work_pool_name": "alpha"}))
    assert get(api, id)["work_pool_name"] is None


def test_a_change_of_something_else_asks_nothing(api: Api) -> None:
    """A pool's template may have changed since; the deployment can still be paused or described."""
    pool(api)
    id = deploy(api, work_pool_name="alpha", job_variables={"anything": "goes"})["id"]
    schema = {"type": "object", "properties": {"anything": {"type": "integer"}}}
    changed = {"base_job_template": {"variables": schema, "job_configuration": {}}}
    assert api.patch("/work_pools/alpha", json=changed).status_code == 204

    assert api.patch(f"/deployments/{id}", json={"description": "nightly"}).status_code == 204
    assert run(api, id).status_code == 201
    assert run(api, id, job_variables={"env": {}}).status_code == 422


@pytest.mark.parametrize("fixed", [True, False])
def test_a_template_with_a_wrong_value_is_not_kept(api: Api, fixed: bool) -> None:
    """Neither as a default nor written fast; a pool of another type may mean something else by the name."""
    rules = {"timeout": {} if fixed else {"default": "soon"}}
    values = {"timeout": "soon" if fixed else "{{ timeout }}"}
    template = {"variables": {"properties": rules}, "job_configuration": values}
    pool(api)
    refused = [
        api.post("/work_pools/", json={"name": "beta", "type": "process", "base_job_template": template}),
        api.patch("/work_pools/alpha", json={"base_job_template": template}),
    ]

    assert [answer.status_code for answer in refused] == [422, 422]
    assert all("timeout is 'soon'" in answer.text for answer in refused)
    assert api.get("/work_pools/beta").status_code == 404
    pool(api, "gamma", type="docker", base_job_template=template)
