"""Homes for journeys: without a server, and before one."""

from __future__ import annotations

from tests.verdicts.conftest import embedded as embedded
from tests.verdicts.conftest import house as house
from tests.verdicts.conftest import own_server as own_server
from tests.verdicts.conftest import shared_server as shared_server
