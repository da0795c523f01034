"""The inbox: inbound events are accepted, with commands and access, in one transaction."""
