"""What follows a transaction once it is committed: bells, facts and lines of the log."""
