"""Looks at a whole library: near-duplicates and copies, clusters, contrasts."""
