"""``@flow``: a function whose calls are recorded as flow runs."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    cast,
    overload,
)

from . import arguments
from .outcome import hand_over
from .run import FlowRun, current_run, current_tags
from .source import version_of
from .state import State

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Unpack

    from .deployable import Deployable, DeploymentOptions
    from .runner import TaskRunner

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
Hook = Callable[..., Any]
NameMaker = str | Callable[..., str]


class FlowOptions(TypedDict, total=False):
    """What ``@flow`` and :meth:`Flow.with_options` take, for type checkers; see :func:`flow`."""

    name: str | None
    version: str | None
    flow_run_name: NameMaker | None
    retries: int | None
    retry_delay_seconds: float | list[float] | None
    retry_on: Iterable[str] | None
    task_runner: TaskRunner | type[TaskRunner] | None
    description: str | None
    timeout_seconds: float | None
    validate_parameters: bool
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool
    log_prints: bool | None
    on_completion: Iterable[Hook] | None
    on_failure: Iterable[Hook] | None
    on_cancellation: Iterable[Hook] | None
    on_crashed: Iterable[Hook] | None
    on_running: Iterable[Hook] | None


class Flow(Generic[P, R]):
    """A function whose calls are flow runs; made by :func:`flow`."""

    def __init__(
        self,
        fn: Callable[P, R],
        name: str | None = None,
        version: str | None = None,
        flow_run_name: NameMaker | None = None,
        retries: int | None = None,
        retry_delay_seconds: float | list[float] | None = None,
        retry_on: Iterable[str] | None = None,
        task_runner: TaskRunner | type[TaskRunner] | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        validate_parameters: bool = True,
        persist_result: bool | None = None,
        result_storage: Any = None,
        result_serializer: Any = None,
        cache_result_in_memory: bool = True,
        log_prints: bool | None = None,
        on_completion: Iterable[Hook] | None = None,
        on_failure: Iterable[Hook] | None = None,
        on_cancellation: Iterable[Hook] | None = None,
        on_crashed: Iterable[Hook] | None = None,
        on_running: Iterable[Hook] | None = None,
    ) -> None:
        check_definition("flow", fn, retries, timeout_seconds)
        check_hooks("flow", on_completion, on_failure, on_cancellation, on_crashed, on_running)
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name: str = name or name_of(fn).replace("_", "-")
        if any(letter in self.name for letter in "/%&><"):
            raise ValueError(
                f"The flow name {self.name!r} may not hold any of / % & > <. Give another with name=."
            )
        self.isasync = inspect.iscoroutinefunction(fn)
        self.signature = inspect.signature(fn)
        self.version = version if version is not None else version_of(fn)
        self.flow_run_name = flow_run_name
        self._retries = retries
        self._retry_delay = retry_delay_seconds
        self.retry_on = check_retry_on(retry_on)
        self.task_runner = _runner_of(task_runner)
        self.description = description if description is not None else doc_of(fn)
        self.timeout_seconds = float(timeout_seconds) if timeout_seconds else None
        self.should_validate_parameters = validate_parameters
        self.persist_result = persist_result
        self.result_storage = result_storage
        self.result_serializer = result_serializer
        self.cache_result_in_memory = cache_result_in_memory
        self.log_prints = log_prints
        self.on_completion_hooks = list(on_completion or [])
        self.on_failure_hooks = list(on_failure or [])
        self.on_cancellation_hooks = list(on_cancellation or [])
        self.on_crashed_hooks = list(on_crashed or [])
        self.on_running_hooks = list(on_running or [])
        self.validator = arguments.Validator(fn, self.signature, self.name)
        self.source: tuple[Any, str] | None = None
        """Storage and entrypoint from which :meth:`from_source` loaded it."""
        self._key = f"flow:{self.name}"

    @property
    def retries(self) -> int:
        """How often a failed run is tried again."""
        return self._retries if self._retries is not None else int(settings_now().flow_default_retries)

    @property
    def retry_delay_seconds(self) -> float | list[float]:
        """Seconds before a retry, or a list with each retry's."""
        if self._retry_delay is not None:
            return self._retry_delay
        return float(settings_now().flow_default_retry_delay_seconds)

    @overload
    def __call__(self: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(
        self: Flow[P, Coroutine[Any, Any, T]],
        *args: Any,
        return_state: Literal[True],
        wait_for: Any = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self: Flow[P, T], *args: Any, return_state: Literal[True], wait_for: Any = ..., **kwargs: Any
    ) -> State[T]: ...
    @overload
    def __call__(self: Flow[P, T], *args: Any, wait_for: Any, **kwargs: Any) -> T: ...
    def __call__(  # type: ignore[misc]  # the two keywords are not the user's function's
        self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any
    ) -> Any:
        """Run the flow and return its value, or its state with ``return_state=True``.

        Raises:
            ParameterBindError: the call does not fit the signature; no run is made.
            ParameterTypeError: an argument does not fit its type hint; the run is Failed.
            Exception: what the flow itself raised.
        """
        run = self._make_run(args, kwargs, wait_for)
        if self.isasync:
            return self._call_async(run, return_state)
        from .driver import drive  # with what it needs half of the engine: loaded by the first call

        drive(run)
        stop_runner(run)
        return hand_over(run, return_state)

    async def _call_async(self, run: FlowRun, return_state: bool) -> Any:
        from .async_driver import drive_async  # asyncio is heavy, and sync programs need none

        await drive_async(run)
        stop_runner(run)
        return hand_over(run, return_state)

    def _make_run(self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> FlowRun:
        from .recorder import recorder  # the journal and its encoder: loaded by the first call

        parameters: dict[str, Any] = {}
        if self.signature.parameters or args or kwargs:
            parameters = arguments.bind(self.signature, self.name, args, kwargs)
        keeper = recorder()
        outer = current_run.get()
        parent = outer.flow_run if outer is not None and not outer.recorder.muted_by_fork else None
        run = FlowRun(self, keeper, args, kwargs, parent, current_tags.get())
        run.parameters = parameters
        run.name = arguments.random_name(run)
        settings = keeper.settings
        run.retries = self._retries if self._retries is not None else settings.flow_default_retries
        run.retry_delay = self._retry_delay
        if run.retry_delay is None and run.retries:
            run.retry_delay = settings.flow_default_retry_delay_seconds
        run.timeout = self.timeout_seconds
        if parent is not None:
            run.dynamic_key = str(parent.count(self._key))
            run.parent_task_run_id = keeper.new_id()
            inherited = parent.log_prints
        else:
            inherited = settings.logging_log_prints
            _prepare_process(settings)
        run.log_prints = inherited if self.log_prints is None else self.log_prints
        if run.log_prints:
            patch_print()
        if parameters or wait_for is not None:
            arguments.find_upstream(run, parameters, wait_for)
        return run

    def with_options(self, **options: Unpack[FlowOptions]) -> Flow[P, R]:
        """Return a copy with some of the decorator's arguments changed.

        Raises:
            TypeError: one that the decorator does not know.
        """
        changed: Flow[P, R] = Flow(self.fn, **merge_options("flow", self._options(), dict(options)))
        changed.source = self.source
        return changed

    def to_deployment(
        self, name: str, work_pool_name: str | None = None, **options: Unpack[DeploymentOptions]
    ) -> Deployable:
        """Return a deployment of this flow as a value, to be kept by ``deploy`` or carried out by ``serve``.

        ``interval``, ``cron``, ``rrule`` (one or a list), ``schedule`` or ``schedules``: when it runs; only one of
        them. ``paused``: whether they rest. ``parameters``, ``job_variables``, ``tags``, ``description``, ``version``:
        what its runs get. ``enforce_parameter_schema``: refuse runs whose parameters do not fit. ``work_queue_name``:
        its queue within the pool. ``concurrency_limit``: a number, or ``{"limit", "collision_strategy",
        "grace_period_seconds"}``. ``entrypoint_type``: ``"file_path"`` or ``"module_path"``.

        Raises:
            DeploymentError: it cannot be made so, or no other process could load the flow.
            ParameterBindError, ParameterTypeError: the parameters do not fit the flow.
            ScheduleError: a schedule cannot be read.
        """
        made: Deployable = _door("deployments.runner").RunnerDeployment.from_flow(
            self, name, work_pool_name, **options
        )
        return made

    async def ato_deployment(
        self, name: str, work_pool_name: str | None = None, **options: Unpack[DeploymentOptions]
    ) -> Deployable:
        """As :meth:`to_deployment`."""
        return self.to_deployment(name, work_pool_name, **options)

    def deploy(
        self,
        name: str,
        work_pool_name: str | None = None,
        image: Any = None,
        build: bool | None = None,
        push: bool | None = None,
        print_next_steps: bool = True,
        ignore_warnings: bool = False,  # noqa: ARG002  # the field's; there is no warning here
        **options: Unpack[DeploymentOptions],
    ) -> UUID:
        """Have a deployment of this flow kept in a work pool; return its id (in async code: await it).

        One of this name is changed. The options are those of :meth:`to_deployment`; schedules and ``paused`` stay as
        they are where they are not given.

        Raises:
            DeploymentError: there is no such pool, or what is asked for cannot be; and as :meth:`to_deployment`.
            ApiError: the server refuses something; the text names the field.
        """
        made: UUID = _door("deployments.deploying").deploy_flow(
            self, name, work_pool_name=work_pool_name, image=image, build=build, push=push,
            print_next_steps=print_next_steps, **options,
        )  # fmt: skip
        return made

    async def adeploy(self, name: str, **options: Any) -> UUID:
        """As :meth:`deploy`, for async code."""
        import asyncio  # as above

        return await asyncio.to_thread(self.deploy, name, **options)

    def serve(
        self,
        name: str | None = None,
        limit: int | None = None,
        pause_on_shutdown: bool = True,
        print_starting_message: bool = True,
        webserver: bool = False,
        global_limit: Any = None,
        **options: Unpack[DeploymentOptions],
    ) -> None:
        """Have a deployment of this flow kept, and carry out its runs until told to stop (in async code: await it).

        ``limit``: how many runs may go on at once in this process's care; ``global_limit``: anywhere. The options are
        those of :meth:`to_deployment`; without a name it is the flow's. See :func:`headrace.serve`.
        """
        return _door("deployments.serving").serve_flow(  # type: ignore[no-any-return]  # what async code awaits
            self, name, limit=limit, global_limit=global_limit, pause_on_shutdown=pause_on_shutdown,
            print_starting_message=print_starting_message, webserver=webserver, **options,
        )  # fmt: skip

    async def aserve(self, name: str | None = None, **options: Any) -> None:
        """As :meth:`serve`, for async code; cancelling it stops it."""
        waiting: Any = self.serve(name, **options)  # type: ignore[func-returns-value]  # in async code something to await
        await waiting

    @staticmethod
    def from_source(source: Any, entrypoint: str) -> Flow[Any, Any]:
        """Return the flow at ``file.py:function`` of a folder or git repository; its deployments fetch it from there.

        ``source``: a path, a git address, ``GitRepository(...)`` or ``LocalStorage(...)``. In async code: await it.

        Raises:
            DeploymentError: ``source`` is none of these, or holds a secret in clear.
            LoadError: the code cannot be fetched, or there is no such flow in it.
        """
        from .calling import here_or_awaited  # asyncio is heavy, and most programs deploy nothing

        flow_from = _door("deployments.fetching").flow_from
        found: Flow[Any, Any] = here_or_awaited(lambda: flow_from(source, entrypoint))
        return found

    @staticmethod
    async def afrom_source(source: Any, entrypoint: str) -> Flow[Any, Any]:
        """As :meth:`from_source`, for async code."""
        import asyncio  # as above

        found: Flow[Any, Any] = await asyncio.to_thread(
            _door("deployments.fetching").flow_from, source, entrypoint
        )
        return found

    def _options(self) -> dict[str, Any]:
        return {
            "name": self.name, "version": self.version, "flow_run_name": self.flow_run_name,
            "retries": self._retries, "retry_delay_seconds": self._retry_delay, "retry_on": self.retry_on,
            "task_runner": self.task_runner,
            "description": self.description, "timeout_seconds": self.timeout_seconds,
            "validate_parameters": self.should_validate_parameters, "persist_result": self.persist_result,
            "result_storage": self.result_storage, "result_serializer": self.result_serializer,
            "cache_result_in_memory": self.cache_result_in_memory, "log_prints": self.log_prints,
            "on_completion": self.on_completion_hooks, "on_failure": self.on_failure_hooks,
            "on_cancellation": self.on_cancellation_hooks, "on_crashed": self.on_crashed_hooks,
            "on_running": self.on_running_hooks,
        }  # fmt: skip

    def bound(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return parameters by name with the defaults of the rest.

        Raises:
            ParameterBindError: names that the flow does not take, or required ones that are missing.
        """
        return arguments.bind(self.signature, self.name, (), dict(parameters))

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return ``parameters`` coerced to the flow's type hints.

        Raises:
            ParameterBindError: names that the flow does not take, or required ones that are missing.
            ParameterTypeError: values that do not fit.
        """
        return self.validator.validate(arguments.bind(self.signature, self.name, (), dict(parameters)))

    def on_completion(self, fn: Hook) -> Hook:
        """Call ``fn(flow, flow_run, state)`` when a run completes; usable as a decorator."""
        self.on_completion_hooks.append(fn)
        return fn

    def on_failure(self, fn: Hook) -> Hook:
        """Call ``fn`` when a run fails for good."""
        self.on_failure_hooks.append(fn)
        return fn

    def on_cancellation(self, fn: Hook) -> Hook:
        """Call ``fn`` when a run is cancelled and its process hears of it."""
        self.on_cancellation_hooks.append(fn)
        return fn

    def on_crashed(self, fn: Hook) -> Hook:
        """Call ``fn`` when a run's process is told to end by SIGTERM."""
        self.on_crashed_hooks.append(fn)
        return fn

    def on_running(self, fn: Hook) -> Hook:
        """Call ``fn`` each time a run begins to run."""
        self.on_running_hooks.append(fn)
        return fn

    @overload
    def __get__(self, instance: None, owner: Any = ...) -> Flow[P, R]: ...
    @overload
    def __get__(self: Flow[Concatenate[Any, Q], T], instance: object, owner: Any = ...) -> Flow[Q, T]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind the flow to an instance, as a method is bound."""
        if instance is None:
            return self
        bind: Any = getattr(self.fn, "__get__")  # noqa: B009  # what can be called need not be a function
        return Flow(bind(instance, owner), **self._options())

    def __repr__(self) -> str:
        return f"<Flow {self.name!r}>"


def _door(module: str) -> Any:
    """Return a module of the public door, which stands above the engine: by its name, and only when it is asked for.

    It speaks to the server, as the engine may not; a flow merely offers it under the name that users know.
    """
    from importlib import import_module  # as above: loaded when it is needed

    return import_module(f"headrace.{module}")


def settings_now() -> Any:
    """Return the settings of this process's runs."""
    from .recorder import current_settings  # as above: loaded when it is needed

    return current_settings()


def _prepare_process(settings: Any) -> None:
    """Do what the outermost flow of a process needs; the second time it does nothing."""
    from . import logs  # logging is 3 ms that importing headrace need not take
    from .tracebacks import install_excepthook

    logs.set_up(settings)
    install_excepthook()


def patch_print() -> None:
    """Have ``print`` of runs go to their logs."""
    from . import logs  # as above

    logs.patch_print()


def stop_runner(run: FlowRun) -> None:
    """Give the threads and processes of a flow run's task runner back."""
    if run.runner is not None:
        run.runner.stop()


def runner_for(run: FlowRun) -> TaskRunner:
    """Return the flow run's task runner; the first submit starts it."""
    if run.runner is None or (run.recorder.muted_by_fork and run.runner.pid != os.getpid()):
        from .runners.threads import ThreadPoolTaskRunner  # only flows that submit need a runner

        chosen = run.definition.task_runner
        run.runner = chosen.duplicate() if chosen is not None else ThreadPoolTaskRunner()
    return cast("TaskRunner", run.runner)


def _runner_of(given: TaskRunner | type[TaskRunner] | None) -> TaskRunner | None:
    return given() if isinstance(given, type) else given


def check_definition(kind: str, fn: Any, retries: int | None, timeout: float | None) -> None:
    """Refuse a decorated thing or numbers that cannot work.

    Raises:
        TypeError: not a function.
        ValueError: a negative number of retries, or a timeout that is not positive.
    """
    if isinstance(fn, (staticmethod, classmethod)):
        raise TypeError(f"Put @{type(fn).__name__} above @{kind}, not below it.")
    if not callable(fn):
        raise TypeError(f"@{kind} is for functions; it was given {type(fn).__name__}.")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"@{kind} cannot take a generator function yet. Return a list, or write a plain function."
        )
    if retries is not None and retries < 0:
        raise ValueError(f"retries is {retries}; it must be 0 or more.")
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout_seconds is {timeout}; it must be positive.")


def check_retry_on(kinds: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return what is to be tried again: of ``failed``, ``crashed`` and ``lost``; ``None`` as is usual.

    Raises:
        ValueError: something else.
    """
    if kinds is None:
        return None
    given = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = sorted(set(given) - {"failed", "crashed", "lost"})
    if unknown:
        raise ValueError(f"retry_on holds {unknown[0]!r}; it takes 'failed', 'crashed' and 'lost'.")
    return given


def check_hooks(kind: str, *lists: Any) -> None:
    """Refuse hooks that are not given as a list of functions.

    Raises:
        TypeError: a function alone, or something in the list that cannot be called.
    """
    for hooks in lists:
        if hooks is None:
            continue
        if callable(hooks) or isinstance(hooks, str) or not hasattr(hooks, "__iter__"):
            raise TypeError(
                f"The hooks of a {kind} are given as a list of functions, such as [notify]; got {hooks!r}."
            )
        for hook in hooks:
            if not callable(hook):
                raise TypeError(f"{hook!r} is among the hooks of a {kind}, but cannot be called.")


def name_of(fn: Any) -> str:
    """Return a function's name; a partial has that of its function, another callable that of its class."""
    found = getattr(_inner(fn), "__name__", None)
    return found if isinstance(found, str) else type(fn).__name__


def doc_of(fn: Any) -> str | None:
    """Return a function's own docstring; unlike ``inspect.getdoc`` it does not look at the classes around it."""
    text = getattr(_inner(fn), "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) else None


def _inner(fn: Any) -> Any:
    return inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)


def merge_options(kind: str, known: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the given ones changed.

    Raises:
        TypeError: one that the decorator does not know.
    """
    for name in given:
        if name not in known:
            raise TypeError(
                f"with_options() got {name!r}, which @{kind} does not know. It knows {', '.join(known)}."
            )
    return {**known, **given}


class FlowDecorator:
    """``@flow``, and ``flow.from_source``."""

    from_source = staticmethod(Flow.from_source)
    afrom_source = staticmethod(Flow.afrom_source)

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Flow[P, R]: ...
    @overload
    def __call__(
        self, fn: None = None, /, **options: Unpack[FlowOptions]
    ) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:
        """Make a function a flow: each call is a run with a state, logs and a place in the list of runs.

        ``name``: the flow's name, else the function's with dashes. ``version``: text, else a hash of the file.
        ``flow_run_name``: a template with ``{parameter}``, or a function. ``retries`` and ``retry_delay_seconds``:
        how often a failed run is tried again, and the seconds before each (a number, or a list). ``retry_on``: what
        counts: ``{"failed", "crashed"}`` unless told, crashes where a worker can start the run again; ``"lost"`` adds
        runs of which no sign of life came and that may be alive. ``task_runner``:
        where submitted tasks run (threads). ``timeout_seconds``: after it the run is Failed, named TimedOut.
        ``validate_parameters``: fit arguments to the type hints. ``log_prints``: ``print`` goes to the log.
        ``on_...``: lists of functions ``(flow, flow_run, state)``. The result arguments are kept for later.
        """
        if fn is None:
            return functools.partial(_make_flow, options)
        return Flow(fn, **options)


flow = FlowDecorator()


def _make_flow(options: dict[str, Any], fn: Any) -> Flow[Any, Any]:
    return Flow(fn, **options)


__all__ = ["Flow", "flow"]
