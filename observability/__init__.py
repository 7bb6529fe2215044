"""After a reply has gone, its ledger becomes a trace, metrics and a log line."""
