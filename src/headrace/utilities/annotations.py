"""Marks on a task's arguments, by the field's module name."""

from ..engine.annotations import allow_failure as allow_failure
from ..engine.annotations import opaque as opaque
from ..engine.annotations import quote as quote
from ..engine.annotations import unmapped as unmapped
