"""What travels through Gatehouse: plain structs, protocols and errors. The leaf that everything may import."""
