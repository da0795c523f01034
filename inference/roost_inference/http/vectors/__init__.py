"""The route of embeddings."""
