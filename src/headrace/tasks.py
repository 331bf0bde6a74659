"""Tasks, by the field's module name."""

from .engine.task import Task as Task
from .engine.task import exponential_backoff as exponential_backoff
from .engine.task import task as task
