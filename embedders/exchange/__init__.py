"""Vectors, token states and what is known of an image, as files: safetensors, the JSON of DiffusionToolkit, and Parquet."""

from .dotnet_json import write_json
from .parquet_file import ParquetWriter
from .reading import Source, open_source
from .records import VECTORS, Embeddings, ExchangeError, MadeBy, States
from .safetensors_file import SafetensorsWriter

__all__ = [
    "Embeddings",
    "ExchangeError",
    "MadeBy",
    "ParquetWriter",
    "SafetensorsWriter",
    "Source",
    "States",
    "VECTORS",
    "open_source",
    "write_json",
]
