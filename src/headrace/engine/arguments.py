"""Arguments of flows and tasks: bound, validated from type hints, waited for."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ParameterBindError, ParameterTypeError, UpstreamTaskError
from ..model.names import run_name
from .annotations import Annotation, allow_failure, quote, unmapped
from .futures import HeadraceFuture, collect_futures, holds_futures, replace_futures
from .run import FlowRun
from .state import State, get_state_exception
from .tracebacks import headline

if TYPE_CHECKING:
    from .run import Run, TaskRun


def bind(
    signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments by parameter name, defaults applied.

    Raises:
        ParameterBindError: the call does not fit the signature.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ParameterBindError(f"Calling {name}: {error}. Its signature is {name}{signature}.") from None
    bound.apply_defaults()
    return bound.arguments


def spread(signature: inspect.Signature, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return ``values`` by parameter name as positional and keyword arguments."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(value)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    return tuple(args), kwargs


def prepare_flow(run: FlowRun) -> None:
    """Validate a flow's arguments and name the run.

    Raises:
        ParameterTypeError: an argument does not fit its type hint.
    """
    flow = run.definition
    values = run.parameters
    if values:
        if flow.should_validate_parameters:
            values = flow.validator.validate(values)
        run.parameters = values
        run.args, run.kwargs = spread(flow.signature, values)
    if flow.flow_run_name is not None:
        run.name = make_name(flow.flow_run_name, values, f"flow_run_name of flow {flow.name}")


_SIMPLE = {int, str, float, bool, type(None), bytes}


def _plain(value: Any) -> Any:
    return value.unwrap() if isinstance(value, Annotation) else value


def make_name(template: str | Callable[..., str], values: dict[str, Any], what: str) -> str:
    """Return a run's name from a template with ``{parameter}`` or from a function.

    Raises:
        ValueError: the template names something that is no parameter, or the function returns no text.
    """
    if callable(template):
        takes = inspect.signature(template).parameters
        name = template(values) if takes else template()
        if not isinstance(name, str):
            raise ValueError(
                f"The {what} is a function that returned {type(name).__name__}; it must return text."
            )
        return name
    from datetime import datetime, timezone  # only templates need it

    try:
        return template.format(**{"date": datetime.now(timezone.utc), **values})
    except (LookupError, AttributeError, ValueError, TypeError) as error:
        known = ", ".join(sorted(values)) or "none"
        raise ValueError(
            f"The {what} is {template!r}, which cannot be filled in ({type(error).__name__}: {error}). "
            f"Its parameters: {known}."
        ) from None


def name_task(run: TaskRun) -> None:
    """Name a task run by its task's template or function; what has not ended yet is there by its name.

    Raises:
        ValueError: see :func:`make_name`.
    """
    template = run.definition.task_run_name
    if template is not None:
        values = run.definition.bind(run.args, run.kwargs)
        if run.upstream is not None:
            values = {name: replace_futures(_plain(value), _value_or_name) for name, value in values.items()}
        run.name = make_name(template, values, f"task_run_name of task {run.definition.name}")


def _value_or_name(item: Any) -> Any:
    state = _state_of(item)
    if state.is_completed():
        return state.result()
    return item._name if isinstance(item, HeadraceFuture) else state.name


def random_name(run: Run) -> str:
    """Return a random two-word name."""
    return run_name(int(run.id[24:], 16))


def upstream_of(args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> bool:
    """Say whether a task's call holds futures, states or annotations; quick for plain values."""
    for value in args:
        if type(value) not in _SIMPLE and _needs_work(value):
            return True
    for value in kwargs.values():
        if type(value) not in _SIMPLE and _needs_work(value):
            return True
    return wait_for is not None


def find_upstream(run: FlowRun | TaskRun, values: dict[str, Any], wait_for: Any) -> None:
    """Note the futures that a run needs, and how its inputs came about."""
    if wait_for is None and not any(map(_needs_work, values.values())):
        return
    run.wait_for = wait_for
    inputs: dict[str, list[dict[str, Any]]] = {}
    upstream: list[Any] = []
    for name, value in values.items():
        found = [] if isinstance(value, quote) else collect_futures(_plain(value))
        upstream += found
        inputs[name] = [_input_of(item) for item in found if isinstance(item, HeadraceFuture)]
    waited = _listed(run.wait_for)
    upstream += waited
    if waited:
        inputs["wait_for"] = [_input_of(item) for item in waited if isinstance(item, HeadraceFuture)]
    run.inputs = {name: items for name, items in inputs.items() if items} or None
    run.upstream = [item for item in upstream if isinstance(item, HeadraceFuture)] or [_Done()]


def _needs_work(value: Any) -> bool:
    return type(value) not in _SIMPLE and (isinstance(value, Annotation) or holds_futures(value))


def _listed(wait_for: Any) -> list[Any]:
    if wait_for is None:
        return []
    items = wait_for if isinstance(wait_for, (list, tuple, set)) else [wait_for]
    return [found for item in items for found in collect_futures(_plain(item))]


class _Done:
    """A future that has ended: a run whose inputs are states needs no waiting, but resolving."""

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call at once."""
        fn(self)

    def _begin(self, *, elsewhere: bool) -> bool:  # noqa: ARG002  # the form of a future
        return False


def _input_of(item: Any) -> dict[str, Any]:
    return {"input_type": "task_run", "id": item.task_run_id}


def resolve_upstream(run: FlowRun | TaskRun) -> State[Any] | None:
    """Put values in the place of futures and states; return ``NotReady`` if one did not complete."""
    try:
        for item in _listed(run.wait_for):
            if not _allows_failure(run.wait_for, item):
                _check(item)
        run.args = tuple(_resolve(value) for value in run.args)
        run.kwargs = {name: _resolve(value) for name, value in run.kwargs.items()}
        if isinstance(run, FlowRun):
            run.parameters = {name: _resolve(value) for name, value in run.parameters.items()}
        elif run.state is None:  # a submitted one is on record by its name already
            name_task(run)
    except UpstreamTaskError as error:
        run.error = error
        return State("PENDING", "NotReady", str(error), error, t=run.recorder.now())
    return None


def _allows_failure(wait_for: Any, item: Any) -> bool:
    items = wait_for if isinstance(wait_for, (list, tuple, set)) else [wait_for]
    return any(isinstance(each, allow_failure) and item in collect_futures(each.unwrap()) for each in items)


def _resolve(value: Any) -> Any:
    if isinstance(value, quote):
        return value.unwrap()
    if isinstance(value, allow_failure):
        return replace_futures(value.unwrap(), lambda item: item.result(raise_on_failure=False))
    if isinstance(value, unmapped):
        return _resolve(value.unwrap())
    return replace_futures(value, _value_of)


def _state_of(item: Any) -> State[Any]:
    return item.state if isinstance(item, HeadraceFuture) else item


def _check(item: Any) -> State[Any]:
    if isinstance(item, HeadraceFuture):
        item.wait()
    state = _state_of(item)
    if not state.is_completed():
        name = item._name if isinstance(item, HeadraceFuture) else "given as a state"
        why = headline(get_state_exception(state)) if state.is_final() else (state.message or "")
        raise UpstreamTaskError(
            f"The run {name} that this one needs did not complete: it is {state.name}. {why}".rstrip()
        )
    return state


def _value_of(item: Any) -> Any:
    return _check(item).result()


class Validator:
    """Validate and coerce a flow's arguments from its type hints, with pydantic only if that needs it."""

    def __init__(self, fn: Callable[..., Any], signature: inspect.Signature, name: str) -> None:
        self._fn = fn
        self._signature = signature
        self._name = name
        self._hints: dict[str, Any] | None = None
        self._models: dict[str, Any] = {}

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, coerced.

        Raises:
            ParameterTypeError: some do not fit; each is named with the reason.
        """
        hints = self._hints if self._hints is not None else self._load_hints()
        checked = values
        problems: list[str] = []
        for name, hint in hints.items():
            value = values.get(name, inspect.Parameter.empty)
            if value is inspect.Parameter.empty or _fits(value, hint):
                continue
            if checked is values:
                checked = dict(values)
            checked[name] = self._coerce(name, hint, value, problems)
        if problems:
            raise ParameterTypeError(
                f"The parameters of flow {self._name} do not fit:\n"
                + "\n".join(f"  - {line}" for line in problems)
            )
        return checked

    def _load_hints(self) -> dict[str, Any]:
        found = {}
        for name, parameter in self._signature.parameters.items():
            hint = self.read_hint(parameter.annotation)
            if hint is Any or hint is parameter.empty or isinstance(hint, str):
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                hint = _TUPLE[hint, ...]
            elif parameter.kind is parameter.VAR_KEYWORD:
                if typing.get_origin(hint) is not None and "Unpack" in repr(hint):
                    continue  # **options: Unpack[SomeTypedDict] names each keyword itself
                hint = _DICT[str, hint]
            found[name] = hint
        self._hints = found
        return found

    def read_hint(self, given: Any) -> Any:
        """Return a hint; one that names something not to be found here stays text, and its value as it is."""
        holder = type("Hints", (), {"__annotations__": {"hint": given}})
        inner = inspect.unwrap(self._fn)
        names = getattr(inner, "__globals__", {})
        try:
            return typing.get_type_hints(holder, names, _closure_of(inner), include_extras=True)["hint"]
        except Exception:  # whatever evaluating a text may raise
            return given

    def _coerce(self, name: str, hint: Any, value: Any, problems: list[str]) -> Any:
        import pydantic  # heavy, and most flows' parameters fit as they are

        adapter = self._models.get(name)
        if adapter is None:
            try:
                adapter = pydantic.TypeAdapter(hint, config={"arbitrary_types_allowed": True})
            except pydantic.PydanticUserError:  # a type that brings its own configuration
                adapter = pydantic.TypeAdapter(hint)
            self._models[name] = adapter
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            for item in error.errors(include_url=False):
                where = ".".join(map(str, (name, *item["loc"])))
                problems.append(f"{where}: {item['msg']} (got {short(value)})")
            return value


_TUPLE: Any = tuple  # subscripted with hints that only a run knows
_DICT: Any = dict


def _closure_of(fn: Any) -> dict[str, Any]:
    """Return the names of the enclosing functions that a function uses."""
    cells = getattr(fn, "__closure__", None) or ()
    names = fn.__code__.co_freevars if cells else ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True) if _is_filled(cell)}


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # not assigned yet
        return False


def _fits(value: Any, hint: Any) -> bool:
    """Say without pydantic that a value fits; ``False`` means that pydantic is to say."""
    return type(value) is hint and hint in _EXACT


_EXACT = {int, str, float, bool, bytes, type(None), list, dict, tuple, set}


def short(value: Any) -> str:
    """Return a value's ``repr``, cut to a hundred characters; the type's name when it has none."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 100 else text[:97] + "..."
