"""Drafts by small networks that read the hidden states of the target."""
