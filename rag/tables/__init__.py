"""Questions that are answered from the rows of a database."""
