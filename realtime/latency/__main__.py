"""`python -m realtime.latency`."""

import sys

from realtime.latency.measure import main

if __name__ == "__main__":
    sys.exit(main())
