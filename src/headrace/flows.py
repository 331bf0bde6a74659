"""Flows, by the field's module name."""

from .engine.flow import Flow as Flow
from .engine.flow import flow as flow
