"""What files hold: each format read as a text with headings and paragraphs."""
