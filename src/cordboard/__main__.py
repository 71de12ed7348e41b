"""``python -m cordboard`` is the command ``cordboard``."""

import sys

from cordboard.cli import console

if __name__ == "__main__":
    sys.exit(console())
