"""Tables and the stores that implement the ports of the packages below."""
