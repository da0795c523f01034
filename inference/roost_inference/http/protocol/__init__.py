"""How a port reads HTTP/1.1 and writes it, within bounds."""
