"""What people tell runs: forms that a paused flow run asks to be filled in."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, create_model

__all__ = ["RunInput"]

_R = TypeVar("_R", bound="RunInput")


class RunInput(BaseModel):
    """A form: subclass it with fields, and pause with ``pause_flow_run(wait_for_input=YourForm)``."""

    _description: ClassVar[str | None] = None
    """What people see above the form."""

    @classmethod
    def with_initial_data(cls: type[_R], description: str | None = None, **initial_data: Any) -> type[_R]:
        """Return the same form with a description and with fields filled in for a start.

        Raises:
            ValueError: one of ``initial_data`` is no field of the form.
        """
        unknown = sorted(initial_data.keys() - cls.model_fields.keys())
        if unknown:
            known = ", ".join(cls.model_fields) or "none"
            raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}. Its fields: {known}.")
        fields: dict[str, Any] = {
            name: (cls.model_fields[name].annotation, value) for name, value in initial_data.items()
        }
        made = create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)
        made._description = description if description is not None else cls._description
        return made
