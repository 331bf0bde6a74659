"""Task runners: where submitted tasks are carried out."""

from .engine.runner import TaskRunner as TaskRunner
from .engine.runners.processes import ProcessPoolTaskRunner as ProcessPoolTaskRunner
from .engine.runners.threads import ConcurrentTaskRunner as ConcurrentTaskRunner
from .engine.runners.threads import ThreadPoolTaskRunner as ThreadPoolTaskRunner
