"""What was used and what it cost, kept for good."""
