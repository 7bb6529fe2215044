"""Who calls, and what they may: keys, tokens, and what the database adds to the file."""
