"""Text and numbers as the wire may hold them: what no database can keep is refused or mended here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

NUL = "\x00"


def _refuse_nul(text: str) -> str:
    if NUL in text:
        raise PydanticCustomError("nul_character", "Text may not hold the NUL character (\\u0000).")
    return text


def mend(text: str) -> str:
    """Return the text with NUL characters replaced by U+FFFD: what a run says must not be lost for one."""
    return text.replace(NUL, "\N{REPLACEMENT CHARACTER}") if NUL in text else text


Text = Annotated[str, AfterValidator(_refuse_nul)]
"""A name, key or tag: NUL characters are refused with 422."""

Message = Annotated[str, AfterValidator(mend)]
"""What a run says (a log line, a state's message): NUL characters are replaced."""

FlowName = Annotated[str, Field(pattern="^[^/%&><]+$"), AfterValidator(_refuse_nul)]
"""A flow's name; the characters that would break a URL are refused."""

Name = Annotated[str, Field(pattern="^[^/%&><]+$", max_length=500), AfterValidator(_refuse_nul)]
"""A name that is part of a URL, of a length that a database can index."""

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""How many, none included."""

Positive = Annotated[int, Field(gt=0, le=2**31 - 1)]
"""How many, one at least."""

BigInt = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""A whole number that a database can hold."""

Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""How many rows to pass over."""

Page = Annotated[int, Field(ge=1, le=2**48)]
"""Which page, counted from 1."""

Labels = dict[Text, bool | int | float | Text]
"""``{label: value}``"""

JsonObject = dict[str, Any]


class Query(BaseModel):
    """Base of bodies that ask for something: a field that is ``null`` is as if it were absent."""

    model_config = ConfigDict(defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each for name, each in value.items() if each is not None}
        return value
