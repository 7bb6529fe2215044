"""The composition root: builds an engine from a configuration and the resources that survive a reload."""
