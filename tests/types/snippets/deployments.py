"""What a checker sees of deployments: the plain names are typed for sync code, those with an `a` for async code."""

from __future__ import annotations

from typing_extensions import reveal_type

from headrace import deploy, flow, serve
from headrace.deployments import GitRepository, arun_deployment, run_deployment
from headrace.schedules import Cron


@flow
def etl(region: str) -> int:
    return len(region)


reveal_type(etl.deploy("d", work_pool_name="p", schedule=Cron("0 6 * * *"), tags=["a"]))  # reveal: UUID
reveal_type(etl.to_deployment("d"))  # reveal: Deployable
reveal_type(etl.to_deployment("d").apply())  # reveal: UUID
reveal_type(deploy(etl.to_deployment("d"), work_pool_name="p"))  # reveal: list[UUID]
reveal_type(flow.from_source(GitRepository("https://example.com/x.git"), "a.py:f"))  # reveal: Flow[Any, Any]
reveal_type(etl.with_options(retries=1))  # reveal: Flow[[region: str], int]
reveal_type(run_deployment("etl/d", parameters={"region": "x"}))  # reveal: RecordedFlowRun
reveal_type(run_deployment("etl/d", timeout=0).state)  # reveal: State[Any] | None
serve(etl.to_deployment("d"), limit=3)
etl.serve("d", cron="0 6 * * *", limit=3)
etl.deploy("d", crom="0 6 * * *")  # error: crom
etl.deploy(3)  # error: incompatible type "int"
serve(etl)  # error: expected "Deployable"


async def main() -> None:
    reveal_type(await etl.adeploy("d", work_pool_name="p"))  # reveal: UUID
    reveal_type(await arun_deployment("etl/d"))  # reveal: RecordedFlowRun
    await etl.aserve("d")
