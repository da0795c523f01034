"""The simulation: all processes in one, on a virtual clock, with faults and crashes by seed."""
