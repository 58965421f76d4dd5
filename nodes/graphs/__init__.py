"""The graphs that images were made by: read, kept in new files, filled, recalled and run."""
