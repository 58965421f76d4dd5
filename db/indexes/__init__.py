"""The HNSW and IVFFlat indexes over single kinds: made, tried, put off while much is written, and kept fresh. Over several kinds: db/hybrid."""
