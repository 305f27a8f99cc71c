"""Older review databases into today's."""
