"""A finished ad into findings: what is measured, what is allowed, and why it fails."""
