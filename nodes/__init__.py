"""The ComfyUI surface of the Diffusion Toolkit: its nodes, their parts, and the command beside them."""
