"""One answer on its way: choices, their pieces, and the figures told of them."""
