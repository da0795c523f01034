"""Proof by machine that nothing is lost: seeded simulation, seeded kills, and the invariants."""
