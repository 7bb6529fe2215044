"""`python -m gateway` is the command `gatehouse`."""

from gateway.commands.cli import main

main()
