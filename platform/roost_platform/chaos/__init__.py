"""Proof that nothing is lost: seeded simulations, seeded kills, and the invariants they check."""
