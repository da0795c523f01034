"""The HTTP clients of providers: a small one for plain HTTP, aiohttp for TLS and proxies."""
