"""What workflows show operators: agents, schedules, flows, child agents and waits."""
