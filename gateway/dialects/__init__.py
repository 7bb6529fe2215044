"""Wire formats, one package each. Pure functions and state machines without I/O."""
