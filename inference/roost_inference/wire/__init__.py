"""What clients send, checked field by field; both the HTTP routes and the prompt stand on it."""
