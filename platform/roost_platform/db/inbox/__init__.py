"""The inbox: every inbound event is accepted, with commands and access decisions, in one
transaction.
"""
