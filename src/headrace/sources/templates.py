"""Fills in what a pull step refers to: outputs of earlier steps and the environment, where secrets are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import LoadError

_PLACE = re.compile(r"\{\{\s*(\$?[A-Za-z_][\w.-]*)\s*\}\}")

_ELSEWHERE = ("prefect.blocks.", "prefect.variables.", "headrace.blocks.", "headrace.variables.")


class Template:
    """The values that references mean, and which of them came from the environment (and are not shown)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._outputs: dict[str, Any] = {}
        self._secrets: set[str] = set()

    def add(self, output: Mapping[str, Any], step: str | None) -> None:
        """Make a step's output known: as ``{{ name }}``, and as ``{{ step.name }}`` if the step has an id."""
        self._outputs.update(output)
        if step:
            self._outputs.update({f"{step}.{name}": value for name, value in output.items()})

    def fill(self, value: Any) -> Any:
        """Return a value with each reference in it, at any depth, replaced by what it means.

        ``{{ $NAME }}`` and ``{"$env": NAME}`` mean an environment variable, ``{{ id.output }}`` an earlier step's
        output. What is in double braces but cannot be a name stays as it is: other tools use them too.

        Raises:
            LoadError: the variable is not set, or no earlier step gives the output.
        """
        if isinstance(value, str):
            return self._fill_text(value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            if set(value) == {"$env"}:
                return self._variable(str(value["$env"]))
            return {name: self.fill(item) for name, item in value.items()}
        return value

    @property
    def has_secrets(self) -> bool:
        """Whether anything filled in so far came from the environment."""
        return bool(self._secrets)

    def shown(self, text: str) -> str:
        """Return a text in which what came from the environment is masked."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _fill_text(self, text: str) -> Any:
        whole = _PLACE.fullmatch(text.strip())
        if whole:
            return self._meaning(whole[1])
        return _PLACE.sub(lambda found: str(self._meaning(found[1])), text)

    def _meaning(self, name: str) -> Any:
        if name.startswith("$"):
            return self._variable(name[1:])
        if name in self._outputs:
            return self._outputs[name]
        if name.startswith(_ELSEWHERE):
            raise LoadError(
                f"A pull step refers to {{{{ {name} }}}}, but blocks and variables cannot be read here. Put the value "
                f"into the worker's environment and refer to it as {{{{ $NAME }}}}.",
                tried=name,
            )
        known = ", ".join(sorted(self._outputs)) or "nothing yet"
        raise LoadError(
            f"A pull step refers to {{{{ {name} }}}}, which no step before it gives (there is {known}). Give that "
            "step an `id`.",
            tried=name,
        )

    def _variable(self, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise LoadError(
                f"A pull step refers to the environment variable {name}, which is not set where the run is. Set it "
                "for the worker, or in the job variable `env`.",
                tried=f"${name}",
            )
        if len(value) >= 4:  # masking shorter ones would only spoil the messages
            self._secrets.add(value)
        return value


def is_reference(value: object) -> bool:
    """Say whether a value is, or holds, a reference rather than the thing itself."""
    if isinstance(value, str):
        return _PLACE.search(value) is not None
    return isinstance(value, dict) and (
        set(value) == {"$env"} or any(is_reference(item) for item in value.values())
    )
