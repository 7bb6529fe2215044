"""Table sources: answer questions with rows of a database or of files."""
