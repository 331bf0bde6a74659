"""Every error that a user can catch, by the field's module name."""

from .errors import ApiError as ApiError
from .errors import CancelledRun as CancelledRun
from .errors import CrashedRun as CrashedRun
from .errors import CrashedTaskError as CrashedTaskError
from .errors import FailedRun as FailedRun
from .errors import FlowRunTimeout as FlowRunTimeout
from .errors import HeadraceError as HeadraceError
from .errors import JournalError as JournalError
from .errors import MissingContextError as MissingContextError
from .errors import MissingResult as MissingResult
from .errors import ObjectAlreadyExists as ObjectAlreadyExists
from .errors import ObjectNotFound as ObjectNotFound
from .errors import OffsetMismatch as OffsetMismatch
from .errors import ParameterBindError as ParameterBindError
from .errors import ParameterTypeError as ParameterTypeError
from .errors import ScheduleError as ScheduleError
from .errors import ServerUnavailable as ServerUnavailable
from .errors import SettingError as SettingError
from .errors import TaskRunTimeout as TaskRunTimeout
from .errors import TerminationSignal as TerminationSignal
from .errors import UnfinishedRun as UnfinishedRun
from .errors import UpstreamTaskError as UpstreamTaskError
