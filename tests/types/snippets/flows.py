"""What a checker sees of flows: `# reveal: TYPE` is what it must infer, `# error: TEXT` what it must refuse."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from typing_extensions import reveal_type

from headrace import Flow, State, flow


@flow
def plain(x: int, y: str = "") -> float:
    return float(x)


@flow(name="given", retries=2, timeout_seconds=3.5, flow_run_name="{x}", log_prints=True)
def given(x: int) -> list[str]:
    return [str(x)]


@flow
async def awaited(x: int) -> bytes:
    return bytes(x)


class Shop:
    @flow
    def buy(self, count: int) -> str:
        return str(count)


reveal_type(plain(1))  # reveal: float
reveal_type(plain(1, y="a"))  # reveal: float
reveal_type(given(1))  # reveal: list[str]
reveal_type(plain(1, return_state=True))  # reveal: State[float]
reveal_type(plain(1, wait_for=[1]))  # reveal: float
reveal_type(plain(1, return_state=True).result())  # reveal: float
reveal_type(awaited(1))  # reveal: Coroutine[Any, Any, bytes]
reveal_type(awaited(1, return_state=True))  # reveal: Coroutine[Any, Any, State[bytes]]
reveal_type(plain.with_options(name="other", retries=3)(1))  # reveal: float
reveal_type(Shop().buy(3))  # reveal: str
reveal_type(Shop().buy.with_options(retries=1)(3))  # reveal: str


async def main() -> None:
    reveal_type(await awaited(1))  # reveal: bytes
    reveal_type(await awaited(1, return_state=True))  # reveal: State[bytes]


made: Flow[[int], list[str]] = given
state: State[float] = plain(1, return_state=True)
coroutine: Coroutine[Any, Any, bytes] = awaited(1)

plain("text")  # error: No overload variant
plain()  # error: require at least
plain(1, z=2)  # error: No overload variant
plain(1, "a", "b")  # error: No overload variant
awaited("text")  # error: No overload variant
Shop().buy("text")  # error: No overload variant
wrong: int = plain(1)  # error: Incompatible types in assignment
plain.with_options(nmae="x")  # error: Unexpected keyword argument "nmae"
plain.with_options(retries="two")  # error: incompatible type "str"


@flow(retries="two")  # error: No overload variant
def bad_option() -> None: ...


@flow(nmae="x")  # error: Unexpected keyword argument "nmae"
def bad_name() -> None: ...
