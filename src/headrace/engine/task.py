"""``@task``: a function whose calls are recorded as task runs."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypedDict, TypeVar, overload

from ..errors import MissingContextError
from . import arguments
from .annotations import Annotation, allow_failure, unmapped
from .flow import (
    Hook,
    NameMaker,
    check_definition,
    check_hooks,
    doc_of,
    merge_options,
    name_of,
    patch_print,
    runner_for,
    settings_now,
)
from .futures import HeadraceFuture, HeadraceFutureList
from .outcome import hand_over
from .run import FlowRun, TaskRun, current_run, current_tags
from .source import task_key
from .state import State

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .recorder import Recorder

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
Delay = float | int | list[float] | Callable[[int], list[float]] | None


class TaskOptions(TypedDict, total=False):
    """What ``@task`` and :meth:`Task.with_options` take, for type checkers; see :func:`task`."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    cache_policy: Any
    cache_key_fn: Callable[..., str | None] | None
    cache_expiration: Any
    task_run_name: NameMaker | None
    retries: int | None
    retry_delay_seconds: Delay
    retry_jitter_factor: float | None
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    result_storage_key: str | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    refresh_cache: bool | None
    on_completion: Iterable[Hook] | None
    on_failure: Iterable[Hook] | None
    on_running: Iterable[Hook] | None
    on_rollback: Iterable[Hook] | None
    on_commit: Iterable[Hook] | None
    retry_condition_fn: Callable[..., bool] | None
    viz_return_value: Any
    asset_deps: Any


class Task(Generic[P, R]):
    """A function whose calls are task runs; made by :func:`task`."""

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        cache_policy: Any = None,
        cache_key_fn: Callable[..., str | None] | None = None,
        cache_expiration: Any = None,
        task_run_name: NameMaker | None = None,
        retries: int | None = None,
        retry_delay_seconds: Delay = None,
        retry_jitter_factor: float | None = None,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        result_storage_key: str | None = None,
        cache_result_in_memory: bool = True,
        timeout_seconds: float | None = None,
        log_prints: bool | None = None,
        refresh_cache: bool | None = None,
        on_completion: Iterable[Hook] | None = None,
        on_failure: Iterable[Hook] | None = None,
        on_running: Iterable[Hook] | None = None,
        on_rollback: Iterable[Hook] | None = None,
        on_commit: Iterable[Hook] | None = None,
        retry_condition_fn: Callable[..., bool] | None = None,
        viz_return_value: Any = None,
        asset_deps: Any = None,
    ) -> None:
        check_definition("task", fn, retries, timeout_seconds)
        check_hooks("task", on_completion, on_failure, on_running)
        if isinstance(retry_delay_seconds, (list, tuple)) and len(retry_delay_seconds) > 50:
            raise ValueError(
                f"retry_delay_seconds holds {len(retry_delay_seconds)} delays; at most 50 are taken."
            )
        if retry_jitter_factor is not None and retry_jitter_factor < 0:
            raise ValueError(f"retry_jitter_factor is {retry_jitter_factor}; it must be 0 or more.")
        self._given = {
            name: value for name, value in locals().items() if name not in ("self", "fn", "__class__")
        }
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name: str = name or name_of(fn)
        self.description = description if description is not None else doc_of(fn)
        self.tags = frozenset((tags,) if isinstance(tags, str) else tags or ())
        self.version = version
        self.isasync = inspect.iscoroutinefunction(fn)
        self.signature = inspect.signature(fn)
        self.task_key = task_key(fn, self.name)
        self.task_run_name = task_run_name
        self._retries = retries
        self._retry_delay = _delays(retry_delay_seconds, retries)
        self.retry_jitter_factor = retry_jitter_factor
        self.retry_condition_fn = retry_condition_fn
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.log_prints = log_prints
        self.on_completion_hooks = list(on_completion or [])
        self.on_failure_hooks = list(on_failure or [])
        self.on_running_hooks = list(on_running or [])
        self._simple = _simple_arity(self.signature)

    @property
    def retries(self) -> int:
        """How often a failed run is tried again."""
        return self._retries if self._retries is not None else int(settings_now().task_default_retries)

    @property
    def retry_delay_seconds(self) -> Any:
        """Seconds before a retry, or a list with each retry's."""
        if self._retry_delay is not None:
            return self._retry_delay
        return float(settings_now().task_default_retry_delay_seconds)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name, defaults applied."""
        return arguments.bind(self.signature, self.name, args, kwargs)

    @overload
    def __call__(self: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self: Task[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Any = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self: Task[P, T], *args: Any, return_state: Literal[True], wait_for: Any = ..., **kwargs: Any
    ) -> State[T]: ...
    @overload
    def __call__(self: Task[P, T], *args: Any, wait_for: Any, **kwargs: Any) -> T: ...
    def __call__(  # type: ignore[misc]  # the two keywords are not the user's function's
        self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Any:
        """Run the task here and now; return its value, or its state with ``return_state=True``.

        Futures and states among the arguments are waited for and replaced by their values.

        Raises:
            UpstreamTaskError: a run among the arguments or in ``wait_for`` did not complete.
            Exception: what the task itself raised.
        """
        run = self._make_run(args, kwargs, wait_for)
        if self.isasync:
            return self._call_async(run, return_state)
        from .driver import drive  # with what it needs half of the engine: loaded by the first call

        drive(run)
        return hand_over(run, return_state)

    async def _call_async(self, run: TaskRun, return_state: bool) -> Any:
        from .async_driver import drive_async  # asyncio is heavy, and sync programs need none

        await drive_async(run)
        return hand_over(run, return_state)

    @overload
    def submit(  # type: ignore[overload-overlap]  # unless the function has a return_state of its own
        self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> HeadraceFuture[T]: ...
    @overload
    def submit(self: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> HeadraceFuture[R]: ...
    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Any = ...,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(
        self: Task[P, T], *args: Any, return_state: Literal[True], wait_for: Any = ..., **kwargs: Any
    ) -> State[T]: ...
    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]], *args: Any, wait_for: Any, **kwargs: Any
    ) -> HeadraceFuture[T]: ...
    @overload
    def submit(self: Task[P, T], *args: Any, wait_for: Any, **kwargs: Any) -> HeadraceFuture[T]: ...
    def submit(  # type: ignore[misc]  # the two keywords are not the user's function's
        self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Any:
        """Hand the task to the flow's task runner and return a future at once.

        With ``return_state=True`` the task is waited for and its state returned.

        Raises:
            MissingContextError: no flow is running here.
        """
        self.bind(args, kwargs)
        future = self._submit(args, kwargs, wait_for)
        if return_state:
            future.wait()
            return future.state
        return future

    def _submit(self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> HeadraceFuture[Any]:
        run = self._make_run(args, kwargs, wait_for)
        parent = run.parent
        if parent is None:
            raise MissingContextError(
                f"Task {self.name} was submitted outside a flow; only a flow run has a task runner. Call the task "
                "directly, or submit it inside a function decorated with @flow."
            )
        from .writing import write_created  # as in __call__

        runner = runner_for(parent)
        parent.children.add(
            run
        )  # before it is on record: Ctrl-C strikes where it likes, and its flow must end it
        write_created(run)
        return runner.submit(run, copy_context())

    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Any = ...,
        deferred: bool = ...,
        **kwargs: Any,
    ) -> HeadraceFutureList[T]: ...
    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Any = ...,
        deferred: bool = ...,
        **kwargs: Any,
    ) -> list[State[T]]: ...
    @overload
    def map(
        self,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Any = ...,
        deferred: bool = ...,
        **kwargs: Any,
    ) -> HeadraceFutureList[R]: ...
    @overload
    def map(
        self,
        *args: Any,
        return_state: Literal[True],
        wait_for: Any = ...,
        deferred: bool = ...,
        **kwargs: Any,
    ) -> list[State[R]]: ...
    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Any = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Submit the task once for each element of its iterable arguments; return the futures in order.

        Iterables must have the same length; what is no iterable, a text, or ``unmapped(...)`` is handed whole
        to each run. A future among the arguments is waited for and its value spread.

        Raises:
            ValueError: nothing to map over, or lengths that differ.
        """
        if deferred:
            raise NotImplementedError(
                "deferred=True needs task workers, which Headrace does not have yet. Leave it out."
            )
        calls = _spread(self, self.bind(args, kwargs))
        futures: HeadraceFutureList[Any] = HeadraceFutureList(self._submit(*call, wait_for) for call in calls)
        if return_state:
            futures.wait()
            return [future.state for future in futures]
        return futures

    def _make_run(self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> TaskRun:
        if kwargs or len(args) not in self._simple:
            arguments.bind(self.signature, self.name, args, kwargs)
        outer = current_run.get()
        keeper: Recorder
        if outer is not None:
            parent: FlowRun | None = outer.flow_run
            keeper = outer.recorder
            if outer is parent and parent.root.deployment_id is not None:
                from .pauses import suspend_if_asked  # only a deployment's runs can be suspended

                suspend_if_asked(parent)
        else:
            parent, keeper = None, _recorder_for_task()
        tags = current_tags.get()
        run = TaskRun(self, keeper, args, kwargs, parent, tags | self.tags if self.tags else tags)
        key = self.task_key
        number = parent.count(key) if parent is not None else 0
        run.dynamic_key = str(number) if parent is not None else run.id
        run.name = f"{self.name}-{number}" if parent is not None else f"{self.name}-{run.id[-3:]}"
        if self._retries is None:
            run.retries = keeper.settings.task_default_retries
        else:
            run.retries = self._retries
        run.retry_delay = self._retry_delay
        if run.retry_delay is None and run.retries:
            run.retry_delay = keeper.settings.task_default_retry_delay_seconds
        run.timeout = self.timeout_seconds
        inherited = outer.log_prints if outer is not None else keeper.settings.logging_log_prints
        run.log_prints = inherited if self.log_prints is None else self.log_prints
        if run.log_prints:
            patch_print()
        if arguments.upstream_of(args, kwargs, wait_for):
            arguments.find_upstream(run, self.bind(args, kwargs), wait_for)
        if self.task_run_name is not None:
            arguments.name_task(run)
        return run

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R]:
        """Return a copy with some of the decorator's arguments changed.

        Raises:
            TypeError: one that the decorator does not know.
        """
        return Task(self.fn, **merge_options("task", self._options(), dict(options)))

    def _options(self) -> dict[str, Any]:
        return {
            **self._given,
            "on_completion": self.on_completion_hooks,
            "on_failure": self.on_failure_hooks,
            "on_running": self.on_running_hooks,
        }

    def on_completion(self, fn: Hook) -> Hook:
        """Call ``fn(task, task_run, state)`` when a run completes; usable as a decorator."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: Hook) -> Hook:
        """Call ``fn`` when a run fails for good."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_running(self, fn: Hook) -> Hook:
        """Call ``fn`` each time a run begins to run."""
        self.on_running_hooks.append(fn)
        return fn

    @overload
    def __get__(self, instance: None, owner: Any = ...) -> Task[P, R]: ...
    @overload
    def __get__(self: Task[Concatenate[Any, Q], T], instance: object, owner: Any = ...) -> Task[Q, T]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind the task to an instance, as a method is bound."""
        if instance is None:
            return self
        bind: Any = getattr(self.fn, "__get__")  # noqa: B009  # what can be called need not be a function
        return Task(bind(instance, owner), **{**self._options(), "name": self.name})

    def __reduce__(self) -> Any:
        """Pickle a task of an importable module by its name: its process imports it as this one did."""
        import cloudpickle  # here: who pickles a task has it, a script without a process pool never needs it

        module, name = self.fn.__module__, self.fn.__qualname__
        alone = module == "__main__" or module in cloudpickle.list_registry_pickle_by_value()
        if not alone and _lookup(module, name) is self:
            return _lookup, (module, name)
        return _rebuild, (self.fn, {**self._options(), "name": self.name})

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


def _recorder_for_task() -> Recorder:
    """Return the recorder for a task that is called outside any flow."""
    from . import logs  # as in Task.__call__: loaded when it is needed
    from .recorder import recorder

    keeper = recorder()
    logs.set_up(keeper.settings)
    return keeper


def _lookup(module: str, name: str) -> Any:
    """Return a module's thing by its dotted name, or ``None``."""
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _rebuild(fn: Any, options: dict[str, Any]) -> Task[Any, Any]:
    return Task(fn, **options)


def _delays(given: Any, retries: int | None) -> Any:
    if not callable(given):
        return given
    return given(retries if retries is not None else int(settings_now().task_default_retries))


def _simple_arity(signature: inspect.Signature) -> range:
    """Return the numbers of positional arguments with which a call surely fits the signature."""
    kinds = signature.parameters.values()
    if any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in kinds):
        return range(0)
    required = sum(p.default is p.empty for p in kinds)
    return range(required, len(signature.parameters) + 1)


def _spread(
    task_: Task[Any, Any], values: dict[str, Any]
) -> Iterable[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the positional and keyword arguments of each run of a map, made as they are asked for."""
    places = _places(task_.signature, values)
    mapped: dict[Place, list[Any]] = {}
    for place, value in places.items():
        items = _items(value, task_.signature.parameters[place[0]].default)
        if items is not None:
            mapped[place] = items
    lengths = {_place_name(place): len(items) for place, items in mapped.items()}
    if not lengths:
        raise ValueError(
            f"{task_.name}.map() was given nothing to map over. Hand it at least one list, or use submit()."
        )
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            f"{task_.name}.map() was given iterables of different lengths ({told}). Mark constants with unmapped()."
        )
    constant = {
        place: value.unwrap() if isinstance(value, unmapped) else value for place, value in places.items()
    }
    return (
        _gather(task_.signature, {**constant, **{place: items[i] for place, items in mapped.items()}})
        for i in range(next(iter(lengths.values())))
    )


Place = tuple[str, Any]
"""Where an argument goes: its parameter, and which of the values of ``*args`` or ``**kwargs``, else ``None``."""


def _places(signature: inspect.Signature, values: dict[str, Any]) -> dict[Place, Any]:
    """Return a call's arguments one by one, those of ``*args`` and ``**kwargs`` too."""
    found: dict[Place, Any] = {}
    for name, value in values.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {(name, number): item for number, item in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= {(name, key): item for key, item in value.items()}
        else:
            found[name, None] = value
    return found


def _place_name(place: Place) -> str:
    name, inner = place
    return name if inner is None else str(inner) if isinstance(inner, str) else f"{name}[{inner}]"


def _gather(signature: inspect.Signature, places: dict[Place, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return one call's arguments, put together again."""
    values: dict[str, Any] = {}
    for (name, inner), value in places.items():
        if inner is None:
            values[name] = value
        elif isinstance(inner, str):
            values.setdefault(name, {})[inner] = value
        else:
            values.setdefault(name, []).append(value)
    return arguments.spread(signature, values)


def _items(value: Any, default: Any) -> list[Any] | None:
    """Return what an argument of a map is spread into, or ``None`` when it goes whole to each run."""
    wrap = allow_failure if isinstance(value, allow_failure) else None
    inner = value.unwrap() if wrap else value
    if isinstance(inner, HeadraceFuture):
        inner = inner.result()
    if isinstance(inner, Annotation) or not _is_iterable(inner) or value is default:
        return None
    return [wrap(item) for item in inner] if wrap else list(inner)


def _is_iterable(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes, bytearray, io.IOBase))


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a function a task: each call is a run with a state, recorded in a few microseconds.

    ``tags``: texts. ``task_run_name``: a template with ``{parameter}``, or a function. ``retries``,
    ``retry_delay_seconds`` (a number, a list, or a function of the number of retries that returns a list),
    ``retry_jitter_factor`` (spreads each delay over up to that much more), ``retry_condition_fn(task,
    task_run, state)``: whether a failure is worth another try. ``timeout_seconds``: after it the run is Failed,
    named TimedOut. ``log_prints``: unset takes the flow's. ``on_...``: functions ``(task, task_run, state)``.
    The cache and result arguments are kept for later.
    """
    if fn is None:
        return functools.partial(_make_task, options)
    return Task(fn, **options)


def _make_task(options: dict[str, Any], fn: Any) -> Task[Any, Any]:
    return Task(fn, **options)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Return a function for ``retry_delay_seconds``: each delay is twice the one before, from the factor on."""

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**number for number in range(retries)]

    return delays
