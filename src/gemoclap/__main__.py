"""``python -m gemoclap``: the command line."""

import sys

from gemoclap.cli import main

if __name__ == "__main__":
    sys.exit(main())
