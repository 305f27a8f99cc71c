"""Slates into creatives: cohorts, scenes drawn by diffusion, type set on top, checks."""
