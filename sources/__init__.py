"""Other people's files, and the planted world, into our tables."""
