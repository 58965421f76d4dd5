"""From files and texts to vectors. Knows no database and no nodes; only the files that wrap a Comfy model import `comfy`."""
