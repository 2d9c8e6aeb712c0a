"""`python -m realtime.latency`."""

import sys

from umtn.missing import require

if __name__ == "__main__":
    require("numpy")

from realtime.latency.measure import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
