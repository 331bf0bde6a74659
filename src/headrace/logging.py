"""Loggers of runs."""

from .engine.logs import disable_run_logger as disable_run_logger
from .engine.logs import get_logger as get_logger
from .engine.logs import get_run_logger as get_run_logger
