"""What is read off the functions that developers declare."""
