"""Browsing logs into interests and user embeddings, point in time."""
