"""The same bot, whose imports take a while: a cold runner starts late with it."""

import os
import time
from importlib import import_module

time.sleep(float(os.environ.get("IMPORT_S", "8")))

bot = import_module("planted_bot").bot
