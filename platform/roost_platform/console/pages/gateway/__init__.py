"""The pages of the gateway: models, keys, usage."""
