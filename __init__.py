"""ComfyUI's memory: index images into PostgreSQL, find them by meaning, condition SDXL from them."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes.extension import DiffusionToolkitExtension

    return DiffusionToolkitExtension()
