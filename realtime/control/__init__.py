"""Everything that steers the audio process from outside: OSC and the terminal view."""
