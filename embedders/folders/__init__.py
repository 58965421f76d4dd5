"""Which files there are: found below a folder, and held against those that a library knows."""
