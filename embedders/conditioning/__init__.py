"""SDXL's conditioning as numbers: mixed, estimated where it is not stored, and put together for other models."""
