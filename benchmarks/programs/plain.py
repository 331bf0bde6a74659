"""A function of a user in a plain script, without us: ``plain.py FILE``; see the flow ``waits`` in ``workers.py``."""

import os
import sys
import time
from pathlib import Path


def waits(told):
    draft = Path(told + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(told)
    while True:
        time.sleep(0.05)


waits(sys.argv[1])
