"""Run folders into pages, and what people say of the pictures into a log of decisions."""
