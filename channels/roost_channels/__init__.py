"""Channels: one message model, one renderer, one delivery lane, and an adapter for each chat
network.
"""
