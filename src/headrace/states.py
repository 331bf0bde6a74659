"""States: types, constructors and helpers, under the field's names."""

from .engine.state import AwaitingConcurrencySlot as AwaitingConcurrencySlot
from .engine.state import AwaitingRetry as AwaitingRetry
from .engine.state import Cancelled as Cancelled
from .engine.state import Cancelling as Cancelling
from .engine.state import Completed as Completed
from .engine.state import Crashed as Crashed
from .engine.state import Failed as Failed
from .engine.state import InfrastructurePending as InfrastructurePending
from .engine.state import Late as Late
from .engine.state import Paused as Paused
from .engine.state import Pending as Pending
from .engine.state import Retrying as Retrying
from .engine.state import Running as Running
from .engine.state import Scheduled as Scheduled
from .engine.state import State as State
from .engine.state import StateDetails as StateDetails
from .engine.state import StateGroup as StateGroup
from .engine.state import Submitting as Submitting
from .engine.state import Suspended as Suspended
from .engine.state import get_state_exception as get_state_exception
from .engine.state import get_state_result as get_state_result
from .engine.state import raise_state_exception as raise_state_exception
from .model.states import StateType as StateType
