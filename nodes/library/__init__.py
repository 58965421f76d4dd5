"""The care of a library: its status, its upkeep, its indexes, and the labels of its images."""
