"""What the stages promise each other: tables, settings, the run store, errors and seeds. Imports nothing heavy."""
