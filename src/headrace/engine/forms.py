"""What a paused run asks for, as a form: a pydantic model, or a type that is wrapped into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import RunInputError

if TYPE_CHECKING:
    from pydantic import BaseModel


class Form:
    """Makes the JSON schema that a pause shows, and reads what is filled in."""

    def __init__(self, wanted: Any) -> None:
        """Take a pydantic model, or any type that pydantic can read (``str``, ``int``, ``list[str]``, ``dict``).

        Raises:
            TypeError: ``wanted`` is no such type.
        """
        from pydantic import BaseModel, create_model  # heavy, and only pauses with a form need it

        self.is_wrapped = not (isinstance(wanted, type) and issubclass(wanted, BaseModel))
        try:
            model = create_model("Input", value=(wanted, ...)) if self.is_wrapped else wanted
            schema = model.model_json_schema()
        except Exception as error:  # whatever a hook of somebody's type may raise
            raise TypeError(
                f"wait_for_input is {wanted!r}, of which no form can be made: {str(error).splitlines()[0]}. "
                "Give a pydantic model, a RunInput, or a type such as str, int or dict."
            ) from None
        self._model: type[BaseModel] = model
        self.schema = msgspec.json.encode(schema).decode()
        """JSON text."""
        self.description: str | None = getattr(model, "_description", None)

    def read(self, given: Any) -> Any:
        """Return what was filled in, as a value of the type that was asked for.

        Raises:
            RunInputError: it does not fit; the text names each field.
        """
        from pydantic import ValidationError

        try:
            filled = self._model.model_validate(given if given is not None else {})
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, item['loc'])) or 'input'}: {item['msg']}"
                for item in error.errors(include_url=False)
            ]
            raise RunInputError(f"The input does not fit: {'; '.join(problems)}.") from None
        return filled.value if self.is_wrapped else filled  # type: ignore[attr-defined]  # the form's only field
