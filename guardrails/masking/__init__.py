"""Values replaced by tags on the way in, and put back on the way out."""
