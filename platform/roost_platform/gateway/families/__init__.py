"""The forms in which clients speak to the gateway, one folder for each."""
