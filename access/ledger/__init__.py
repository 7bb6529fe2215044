"""The ledger: a permanent record of usage and cost."""
