"""People: who may talk to an agent, their addresses, notes and tenants."""
