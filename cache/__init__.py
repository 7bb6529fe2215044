"""Answers that are given again: exactly the same question, or one that means the same, to those who may have them."""
