"""`python -m gateway` is the command `gatehouse`."""

from gateway.cli import main

main()
