"""The Prefect flow over all stages, and the command line."""
