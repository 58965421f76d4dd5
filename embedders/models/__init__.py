"""The encoders, a file each, and what they share: devices, batch sizes, half precision, fingerprints."""
