"""Users and concepts into scores, and scores into slates with propensities."""
