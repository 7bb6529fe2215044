"""The formats that an answer can be required to have, and repairs for answers that almost have it."""
