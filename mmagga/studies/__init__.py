"""Studies: grids of runs, what they found, the protocol ledger and the paper's tables."""
