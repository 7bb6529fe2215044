"""The semantic cache: reuses answers for equivalent questions; three checks must all agree."""
