"""The library: PostgreSQL with pgvector behind plain functions that take a connection; callers own the transaction."""

from .connection import Connection, Library, library_names, open_library
from .encoders import (
    activate_encoders,
    active_encoder,
    active_encoders,
    ensure_encoder,
    find_encoder,
    get_encoder,
    require_encoder,
)
from .errors import LibraryError
from ._generation import bump_generation, generation
from .read import counts, find_text, get_images, get_text, images_without_vector, known_files, texts_without_vector
from .records import Counts, Encoder, Hit, ImageRecord, KnownFile, StoredEncoder, StoredImage, TextPair, TokenStates
from .search import search_by_image, search_by_text
from .vectors import (
    image_vector,
    text_vector,
    token_states,
    token_states_bytes,
    write_image_vectors,
    write_text_vectors,
    write_token_states,
)
from .write import ensure_root, ensure_text, find_images, link_paths, write_images
