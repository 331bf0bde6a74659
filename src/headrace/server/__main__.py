"""Run a server in the foreground: ``python -m headrace.server``."""

from __future__ import annotations

import sys

from headrace.errors import HeadraceError
from headrace.settings import load

from .process import serve


def main() -> int:
    """Serve with the settings of the environment; return the exit code."""
    try:
        serve(load(), allow_unauthenticated="--allow-unauthenticated" in sys.argv[1:])
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
