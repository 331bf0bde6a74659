"""One trivial flow, as somebody's first script has it."""

import importlib
import sys

package = importlib.import_module(sys.argv[1])


@package.flow
def hello():
    return 42


hello()
