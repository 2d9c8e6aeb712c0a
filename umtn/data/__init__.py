"""Data: scores, their rendering by many instruments, plain recordings, and the folder they are kept in."""
