"""What tools, waits and flows need from storage; the ports of turns are in `ports.py`."""
