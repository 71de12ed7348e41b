"""The same bot, whose imports take a while: a cold runner starts late with it."""

import os
import time

time.sleep(float(os.environ.get("IMPORT_S", "8")))

from planted_bot import bot  # noqa: E402, F401 - after the wait
