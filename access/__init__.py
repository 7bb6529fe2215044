"""Who calls, how much they may use, and what it cost."""
