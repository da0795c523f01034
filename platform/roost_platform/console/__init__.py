"""The operators' web console: server-rendered pages, live by one event stream each."""
