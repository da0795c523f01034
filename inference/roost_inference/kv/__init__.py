"""Device cells and who holds them: the ledger and the sequences that stay resident."""
