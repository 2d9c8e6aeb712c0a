"""`python -m realtime` is `python -m realtime.run`."""

import sys

from realtime.run import main

if __name__ == "__main__":
    sys.exit(main())
