"""What the networks are taught, how, and from which files."""
