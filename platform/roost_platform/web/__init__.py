"""The web process: one app for console, API and webhooks, behind one port."""
