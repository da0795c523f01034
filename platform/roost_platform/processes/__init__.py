"""What `roost serve` runs: one module for each process, and what all of them share."""
