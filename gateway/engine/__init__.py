"""The request pipeline, and the process-wide objects that it uses."""
