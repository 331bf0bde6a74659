"""Where the code of a deployment is, and how its flow is loaded."""

from .finding import find_flows as find_flows
from .loading import is_headrace_flow as is_headrace_flow
from .loading import load_flow as load_flow
from .source import fetch as fetch
