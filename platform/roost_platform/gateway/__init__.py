"""The gateway: one API in front of every engine and provider, on the web port.

door → families (one folder for each form of the API) → keys → routing → providers. Families and
providers share the request of `request.py` and the events of `events.py`, so that each pair of them
works. Nothing here is imported by processes that do not serve it.
"""
