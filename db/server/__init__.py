"""The embedded PostgreSQL: where its programs are, one server for each data directory, who may use it, and how it ends."""
