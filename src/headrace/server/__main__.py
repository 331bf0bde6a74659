"""Run a server in the foreground: ``python -m headrace.server``."""

from __future__ import annotations

import sys

from headrace.errors import HeadraceError
from headrace.settings import load

from .process import MEMBER, serve, serve_as_member


def main() -> int:
    """Serve with the settings of the environment; return the exit code."""
    told = sys.argv[1:]
    try:
        if told[:1] == [MEMBER]:
            serve_as_member(load(), int(told[1]), int(told[2]))
            return 0
        serve(load(), allow_unauthenticated="--allow-unauthenticated" in told)
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
