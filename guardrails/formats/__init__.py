"""The forms that an answer can be asked to have, and how to mend one that almost has it."""
