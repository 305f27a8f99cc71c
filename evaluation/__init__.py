"""Logs, slates and creatives into estimates, intervals, a verdict and the report."""
