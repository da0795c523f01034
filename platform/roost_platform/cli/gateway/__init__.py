"""The gateway on the command line: keys, models, clients."""
