"""What looks at a whole library at once: duplicates, clusters, contrasts."""
