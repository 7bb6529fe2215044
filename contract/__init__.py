"""Plain structs, protocols and errors that all packages share. This package imports no other package of Gatehouse."""
