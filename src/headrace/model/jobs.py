"""How a pool's template and the job variables over it become a job: what each setting is called, takes and means.

A template is ``{"variables": a JSON schema, "job_configuration": values with {{ placeholders }}}``. The schema's
defaults, then a deployment's variables, then a run's fill the placeholders in; what comes out is read setting by
setting. One table of settings makes the template of new pools, the check at the server and the reference.
"""

from __future__ import annotations

import copy
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import JobError
from . import sizes
from .orders import Job

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"{{\s*([^{}\s]+)\s*}}")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_SHOWN = 80
"""Characters of a wrong value that are told."""


class JobSetting(NamedTuple):
    """One row of the table of job settings."""

    name: str
    title: str
    sentence: str
    takes: str
    """What it may hold, for messages: ``but timeout takes ...``."""
    schema: Json
    """Its type as JSON schema, with its default."""
    read: Callable[[Any], Any]
    """Turns a value that is not ``None`` into the job's; raises ``ValueError``, with a text only to say it closer."""
    own: bool = True
    """Whether pools that other tools have made do not know it."""


# -- how values are read


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _text_or_none(value: Any) -> str | None:
    return value if _text(value).strip() else None


def _command(value: Any) -> str | None:
    text = _text_or_none(value)
    try:
        shlex.split(text or "")
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
    return text


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise ValueError from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError
    return seconds


def _some_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if seconds == 0:
        raise ValueError
    return seconds


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError


def _start(value: Any) -> str:
    if value not in ("warm", "fresh"):
        raise ValueError
    return str(value)


def _modules(value: Any) -> list[str]:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, list):
        raise ValueError
    for module in value:
        if not isinstance(module, str) or not _MODULE.fullmatch(module):
            raise ValueError(f"names no module with {_shown(module)}")
    return list(dict.fromkeys(value))


def _environment(value: Any) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise ValueError(f"is {_article(value)}")
    return {_variable(name): _variable_value(name, each) for name, each in value.items()}


def _variable(name: Any) -> str:
    if not isinstance(name, str) or not name or "=" in name or "\0" in name:
        raise ValueError(f"has {_shown(name)}, which cannot be the name of a variable")
    return name


def _variable_value(name: str, value: Any) -> str | None:
    if isinstance(value, (dict, list)) or "\0" in str(value):  # the value itself may be a secret: not told
        raise ValueError(f"has {_article(value)} for {name}")
    return None if value is None else str(value)


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or any(isinstance(each, (dict, list)) for each in value.values()):
        raise ValueError
    return {str(name): str(each) for name, each in value.items() if each is not None}


def _article(value: Any) -> str:
    if isinstance(value, str):
        return "a text with a NUL character"
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "no object"


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


# -- the table


def _or_null(*kinds: str, **more: Any) -> Json:
    return {"anyOf": [*({"type": kind, **more} for kind in kinds), {"type": "null"}], "default": None}


SETTINGS: tuple[JobSetting, ...] = (
    JobSetting(
        "name",
        "Name",
        "What is started for a run is called so, where such things have names. Processes have none.",
        "a text",
        _or_null("string"),
        _text_or_none,
        own=False,
    ),
    JobSetting(
        "env",
        "Environment variables",
        "Environment variables of a run, beside those of its worker. null unsets one; "
        "{{ $NAME }} is what the worker's NAME holds when the run starts.",
        "an object of texts, or null to unset a variable",
        {
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        _environment,
        own=False,
    ),
    JobSetting(
        "labels",
        "Labels",
        "Labels of what is started for a run, where such things have labels. Processes have none.",
        "an object of texts",
        {"type": "object", "additionalProperties": {"type": "string"}},
        _labels,
        own=False,
    ),
    JobSetting(
        "command",
        "Command",
        "The command that carries out a run, in place of the worker's own. It has to run "
        "`headrace flow-run execute` in the end. The start is then fresh.",
        "a command line",
        _or_null("string"),
        _command,
        own=False,
    ),
    JobSetting(
        "stream_output",
        "Stream output",
        "Whether what a run prints is shown by its worker, too.",
        "true or false",
        {"type": "boolean", "default": True},
        _truth,
        own=False,
    ),
    JobSetting(
        "working_dir",
        "Working directory",
        "The folder in which runs are started; each gets a folder of its own when it is left out.",
        "the path of a folder",
        _or_null("string", format="path"),
        _text_or_none,
        own=False,
    ),
    JobSetting(
        "memory_limit",
        "Memory limit",
        "Memory that a run and all that it starts may take, in bytes or as 512MB or 1.5GiB. "
        "A run that takes more is killed and is Crashed, named OutOfMemory. Empty: no limit.",
        sizes.TAKES,
        _or_null("string", "integer"),
        sizes.size_of,
    ),
    JobSetting(
        "timeout",
        "Timeout",
        "Seconds that the process of a run may take from its start; then it is ended. Empty: no limit.",
        "a number of seconds above 0",
        _or_null("number", "string"),
        _some_seconds,
    ),
    JobSetting(
        "grace_seconds",
        "Grace time",
        "Seconds that a run may take to end after it was told to, before it is killed. "
        "Empty: the worker's setting grace_seconds.",
        "a number of seconds, 0 or more",
        _or_null("number", "string"),
        _seconds,
    ),
    JobSetting(
        "start",
        "Start",
        "warm: a fork of a process of the worker that has imported Headrace and `preload`, in milliseconds. "
        "fresh: a new interpreter, for code that does not bear to be forked.",
        "warm or fresh",
        {"type": "string", "enum": ["warm", "fresh"], "default": "warm"},
        _start,
    ),
    JobSetting(
        "python",
        "Python",
        "The interpreter of a run, in an environment that has Headrace. The start is then fresh. "
        "Empty: the worker's.",
        "the path of a Python interpreter",
        _or_null("string"),
        _text_or_none,
    ),
    JobSetting(
        "preload",
        "Preload",
        "Modules that the worker imports once, for all warm starts; a list, or a text with commas.",
        "names of modules, as a list or separated by commas",
        {
            "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}, {"type": "null"}],
            "default": None,
        },
        _modules,
    ),
)

BY_NAME: dict[str, JobSetting] = {setting.name: setting for setting in SETTINGS}


def _placeholder(name: str) -> str:
    return "{{ " + name + " }}"


TEMPLATE: Json = {
    "job_configuration": {setting.name: _placeholder(setting.name) for setting in SETTINGS},
    "variables": {
        "type": "object",
        "properties": {
            setting.name: {"title": setting.title, "description": setting.sentence, **setting.schema}
            for setting in SETTINGS
        },
    },
}
"""The template of a new process pool, and of one whose template is ``{}``."""


# -- from template to job


def job_of(template: Json, *variables: Json, environ: Mapping[str, str] | None = None) -> Job:
    """Fill a pool's template in with job variables, a deployment's first and then a run's, and read the job.

    Later variables replace earlier ones; those of ``env`` are merged, and a dotted name (``env.TZ``) changes one
    entry of an object. A placeholder alone keeps the type of its value; without a value its key goes. ``environ``
    is what ``{{ $NAME }}`` looks up, but in ``env``: there it stays, so that no secret is written down
    (see :func:`environment`).

    A template that names none of Headrace's own settings takes them nevertheless: a pool made by another tool.

    Raises:
        JobError: the template or a value makes no sense; the text names the setting.
    """
    configuration, schema = _parts(template)
    values = _defaults(schema)
    for each in variables:
        values = laid_over(values, each)
    _refuse_strangers(values, schema, configuration)
    _refuse_missing(values, schema)
    _merge_env(configuration, values)
    filled = _filled(configuration, lambda name: _value_at(values, name))
    rest = {name: value for name, value in filled.items() if name != "env"}
    filled = {**_filled(rest, _environment_lookup(environ or {})), "env": filled.get("env")}
    read = {name: _read(BY_NAME[name], value) for name, value in filled.items() if name in BY_NAME}
    fields = {name: value for name, value in read.items() if value is not None}
    if fields.get("command") or fields.get("python"):
        fields["start"] = "fresh"
    return Job(**fields)


def check(variables: Json) -> None:
    """Refuse job variables that no process pool can take: a setting of the table with a wrong value.

    Values with placeholders are left to the one that fills them in.

    Raises:
        JobError: naming setting and value.
    """
    for name, value in laid_over({}, variables).items():
        if name in BY_NAME and not refers(value):
            _read(BY_NAME[name], value)


def refers(value: Any) -> bool:
    """Say whether a value holds placeholders, so that only who fills them in can judge it."""
    return next(_placeholders(value), None) is not None


def environment(job: Job, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a job: ``base`` with ``env`` over it; ``None`` unsets.

    ``{{ $NAME }}`` in a value is ``base``'s NAME; a variable whose value refers to one that is not there is not set.
    """
    own = _filled(job.env, _environment_lookup(base))
    kept = {name: value for name, value in base.items() if name not in job.env}
    return {**kept, **{name: value for name, value in own.items() if value is not None and not _lacks(value)}}


def _lacks(value: str) -> bool:
    return any(name.startswith("$") for name in _placeholders(value))


def laid_over(below: Json, variables: Json) -> Json:
    """Return job variables with others over them: ``env`` merged, dotted names as entries, the rest replaced."""
    values = dict(below)
    plain = {name: value for name, value in variables.items() if "." not in name}
    for name, value in plain.items():
        both = name == "env" and isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if both else value
    for name, value in variables.items():
        if (
            "." in name and _value_at(plain, name) is _NOTHING
        ):  # an entry said outright wins over a dotted one
            _put_at(values, name.split("."), value)
    return values


class _Nothing:
    """There is no value, or this is not the one to know it."""


_NOTHING = _Nothing()
_NOT_MINE = _Nothing()

Lookup = Callable[[str], Any]


def _parts(template: Json) -> tuple[Json, Json]:
    """Return copies of a template's job configuration and the schema of its variables."""
    template = template or TEMPLATE
    configuration, schema = template.get("job_configuration"), template.get("variables")
    if not isinstance(configuration, dict) or not isinstance(schema, dict):
        raise JobError(
            "The pool's base job template needs `job_configuration` and `variables`, each an object. "
            "Give the pool a whole template, or {} for the usual one."
        )
    if not isinstance(schema.get("properties", {}), dict):
        raise JobError(
            "The `variables` of the pool's base job template have `properties` that are no object."
        )
    configuration, schema = copy.deepcopy(configuration), copy.deepcopy(schema)
    declared = schema.setdefault("properties", {})
    for setting in SETTINGS:
        if setting.own and setting.name not in configuration and setting.name not in declared:
            configuration[setting.name] = _placeholder(setting.name)
            declared[setting.name] = setting.schema
    return configuration, schema


def _defaults(schema: Json) -> Json:
    return {
        name: rule["default"]
        for name, rule in schema["properties"].items()
        if isinstance(rule, dict) and rule.get("default") is not None
    }


def _refuse_strangers(values: Json, schema: Json, configuration: Json) -> None:
    """Refuse a name that looks like a slip of a known one: its value would be left out without a word."""
    known = {*schema["properties"], *configuration}
    strangers = [name for name in values if name not in known]
    if not strangers:
        return
    import difflib  # here: only who has such a name needs it

    for name in strangers:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            raise JobError(
                f"The pool knows no job variable {name!r}. Did you mean {near[0]!r}?", setting=near[0]
            )


def _refuse_missing(values: Json, schema: Json) -> None:
    required = schema.get("required", [])
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and values.get(name) is None:
            raise JobError(
                f"The pool's template requires the job variable {name!r}, and neither the deployment nor the run "
                "gives it. Set it in one of them, or give it a default in the pool.",
                setting=name,
            )


def _merge_env(configuration: Json, values: Json) -> None:
    """Lay the variables' environment over one that the template spells out."""
    if isinstance(configuration.get("env"), dict) and isinstance(values.get("env"), dict):
        configuration["env"] = {**configuration["env"], **values["env"]}


def _filled(value: Any, lookup: Lookup) -> Any:
    """Return a value with its placeholders filled in; entries whose placeholder has no value are left out."""
    if isinstance(value, dict):
        pairs = ((name, _filled(each, lookup)) for name, each in value.items())
        return {name: each for name, each in pairs if each is not _NOTHING}
    if isinstance(value, list):
        return [each for each in (_filled(each, lookup) for each in value) if each is not _NOTHING]
    return _filled_text(value, lookup) if isinstance(value, str) else value


def _filled_text(text: str, lookup: Lookup) -> Any:
    whole = _PLACEHOLDER.fullmatch(text.strip())
    if whole is not None:
        value = lookup(whole[1])
        return text if value is _NOT_MINE else value

    def put_in(found: re.Match[str]) -> str:
        value = lookup(found[1])
        if value is _NOT_MINE or (value is _NOTHING and found[1].startswith("$")):
            return found[0]  # half a path is worse than none: whoever reads the value says what is missing
        return "" if value is _NOTHING or value is None else str(value)

    return _PLACEHOLDER.sub(put_in, text)


def _placeholders(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _placeholders(each)


def _value_at(values: Json, name: str) -> Any:
    """Return the value of a variable, or of an entry of one (``env.TZ``)."""
    if name.startswith(("$", "prefect.", "ctx.")):
        return _NOT_MINE
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return _NOTHING
        found = found[part]
    return found


def _put_at(values: Json, path: list[str], value: Any) -> None:
    """Set an entry of an object within variables; objects on the way are copied, others replaced."""
    first, *rest = path
    if not rest:
        values[first] = value
        return
    inner = values.get(first)
    values[first] = dict(inner) if isinstance(inner, dict) else {}
    _put_at(values[first], rest, value)


def _environment_lookup(environ: Mapping[str, str]) -> Lookup:
    return lambda name: environ.get(name[1:], _NOTHING) if name.startswith("$") else _NOT_MINE


def _read(setting: JobSetting, value: Any) -> Any:
    if value is None:
        return None
    if setting.name == "env":
        _refuse_foreign(setting, value, ("prefect.",))
    else:
        _refuse_foreign(setting, value, ("prefect.", "$"))
    try:
        return setting.read(value)
    except ValueError as error:
        told = str(error)
        closer = told if told and told != setting.takes else f"is {_shown(value)}"
        raise JobError(
            f"The job setting {setting.name} {closer}, but it takes {setting.takes}. "
            "Correct it in the run's or the deployment's job variables, or in the pool's template.",
            setting=setting.name,
        ) from None


def _refuse_foreign(setting: JobSetting, value: Any, beginnings: tuple[str, ...]) -> None:
    """Refuse what is left of references after all that could be looked up was put in."""
    foreign = next((name for name in _placeholders(value) if name.startswith(beginnings)), None)
    if foreign is None:
        return
    why = f"The job setting {setting.name} refers to {foreign}, which " + (
        "the worker's environment does not hold. "
        if foreign[0] == "$"
        else "a process worker cannot look up. "
    )
    raise JobError(
        why + "Write the value itself, or {{ $NAME }} for a variable that the worker's environment has.",
        setting=setting.name,
    )
