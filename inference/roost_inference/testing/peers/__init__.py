"""Doubles of engines that hand KV over, and of what lies between them."""
