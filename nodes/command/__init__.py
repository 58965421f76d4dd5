"""The command `run.py`: what the nodes do, for people with a shell. ComfyUI's folders, models and libraries, and no server."""
