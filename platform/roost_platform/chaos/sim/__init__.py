"""The delivery of messages in one process on a virtual clock, with faults and crashes by seed."""
