"""Personal data: what it is, where it stands, and the tags that stand for it."""
