"""Parses files of each format into a text with headings and paragraphs."""
