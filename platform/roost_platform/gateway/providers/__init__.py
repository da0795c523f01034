"""How requests reach a provider and how its answer is read: one module for each wire."""
