"""Get the flow of an entrypoint into this process, to learn its name and what it takes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..model.orders import DeploymentCode, Job
from ..sources.loading import load_flow
from ..sources.source import fetch
from .storage import Storage, storage_of


def flow_from(source: Any, entrypoint: str) -> Any:
    """Return the flow at an entrypoint (``file.py:function``) of a folder or git repository; it remembers both.

    Raises:
        DeploymentError: ``source`` is none, or holds a secret in clear.
        LoadError: the code cannot be fetched, or there is no such flow in it.
    """
    storage = storage_of(source)
    flow = load_flow(
        entrypoint, _folder_of(storage, entrypoint)
    ).with_options()  # a copy: the module's own is not to remember this source
    flow.source = (storage, entrypoint)
    return flow


def _folder_of(storage: Storage, entrypoint: str) -> Path:
    path, steps = storage.code()
    if path is not None:
        return Path(path)
    into = Path(tempfile.mkdtemp(prefix="headrace-source-"))
    # The flow may be called, and then reads its source lines: the copy stays as long as the process.
    atexit.register(shutil.rmtree, into, ignore_errors=True)
    return fetch(DeploymentCode("", "", entrypoint=entrypoint, pull_steps=steps), Job(), into)
