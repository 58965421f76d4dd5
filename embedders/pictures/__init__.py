"""From a file to its hash, its pixels and its metadata, many files at once."""
