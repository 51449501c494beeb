"""`python -m apps.cli`: the same as `zerobatch`."""

import sys

from apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
