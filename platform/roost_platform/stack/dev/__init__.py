"""`roost up --dev`: agents are loaded again when their code changes."""
