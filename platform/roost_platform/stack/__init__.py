"""`roost up`: the supervisor of the processes, their logs, and checks of their health."""
