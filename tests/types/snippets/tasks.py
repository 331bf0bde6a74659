"""What a checker sees of tasks: `# reveal: TYPE` is what it must infer, `# error: TEXT` what it must refuse."""

from __future__ import annotations

from typing_extensions import reveal_type

from headrace import task, unmapped
from headrace.futures import HeadraceFuture, as_completed
from headrace.tasks import exponential_backoff


@task
def plain(x: int, y: str = "") -> float:
    return float(x)


@task(
    name="given", tags=["a"], retries=2, retry_delay_seconds=exponential_backoff(2), retry_jitter_factor=0.5
)
def given(x: int) -> list[str]:
    return [str(x)]


@task
async def awaited(x: int) -> bytes:
    return bytes(x)


class Shop:
    @task
    def buy(self, count: int) -> str:
        return str(count)


reveal_type(plain(1))  # reveal: float
reveal_type(given(1))  # reveal: list[str]
reveal_type(plain(1, return_state=True))  # reveal: State[float]
reveal_type(plain.submit(1))  # reveal: HeadraceFuture[float]
reveal_type(plain.submit(1, "a").result())  # reveal: float
reveal_type(plain.submit(1).state)  # reveal: State[float]
reveal_type(plain.submit(1, wait_for=[2]))  # reveal: HeadraceFuture[float]
reveal_type(plain.submit(1, return_state=True))  # reveal: State[float]
reveal_type(awaited.submit(1))  # reveal: HeadraceFuture[bytes]
reveal_type(awaited.submit(1).result())  # reveal: bytes
reveal_type(awaited.submit(1, return_state=True))  # reveal: State[bytes]
reveal_type(plain.map([1, 2]))  # reveal: HeadraceFutureList[float]
reveal_type(plain.map([1, 2], unmapped("a")).result())  # reveal: list[float]
reveal_type(plain.map([1, 2], return_state=True))  # reveal: list[State[float]]
reveal_type(awaited.map([1]).result())  # reveal: list[bytes]
reveal_type(awaited.map([1], return_state=True))  # reveal: list[State[bytes]]
reveal_type([f.result() for f in plain.map([1])])  # reveal: list[float]
reveal_type(next(as_completed(plain.map([1]))).result())  # reveal: float
reveal_type(plain.with_options(tags=["b"]).submit(1))  # reveal: HeadraceFuture[float]
reveal_type(Shop().buy(3))  # reveal: str
reveal_type(Shop().buy.submit(3).result())  # reveal: str


async def main() -> None:
    reveal_type(await awaited(1))  # reveal: bytes
    reveal_type(await awaited(1, return_state=True))  # reveal: State[bytes]


future: HeadraceFuture[float] = plain.submit(1)

plain("text")  # error: No overload variant
plain()  # error: require at least
plain(1, z=2)  # error: No overload variant
plain.submit("text")  # error: No overload variant
plain.submit()  # error: require at least
plain.submit(1, z=2)  # error: No overload variant
awaited.submit("text")  # error: No overload variant
Shop().buy.submit("text")  # error: No overload variant
wrong: HeadraceFuture[str] = plain.submit(1)  # error: Incompatible types in assignment
plain.with_options(nmae="x")  # error: Unexpected keyword argument "nmae"


@task(retries="two")  # error: No overload variant
def bad_option() -> None: ...
