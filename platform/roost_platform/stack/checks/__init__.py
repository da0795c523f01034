"""What `roost doctor` checks in detail."""
