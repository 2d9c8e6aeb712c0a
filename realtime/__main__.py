"""`python -m realtime` is `python -m realtime.run`."""

from realtime.shared.interrupts import hold_interrupts

if __name__ == "__main__":
    hold_interrupts()
    import sys

    from realtime.run import main

    sys.exit(main())
