"""``python -m cordboard`` is the command ``cordboard``."""

import sys

from cordboard.cli import main

if __name__ == "__main__":
    sys.exit(main())
