"""What a file says beside its numbers, as JSON: the encoders that made them, and what is known of an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .records import ExchangeError, MadeBy


def encoders_json(made_by: Mapping[str, MadeBy]) -> str:
    """By family: fingerprint, name, dims."""
    return json.dumps({family: asdict(encoder) for family, encoder in made_by.items()})


def read_encoders(text: str, name: str) -> dict[str, MadeBy]:
    """The encoders by family; ExchangeError where the file does not tell them as it should."""
    told = read_object(text.encode("utf-8", "replace"), f"The list of encoders of {name}")
    encoders = {}
    for family, encoder in told.items():
        fields = encoder if isinstance(encoder, dict) else {}
        fingerprint, called, dims = (fields.get(field) for field in ("fingerprint", "name", "dims"))
        if not (isinstance(fingerprint, str) and isinstance(called, str) and isinstance(dims, int)):
            raise ExchangeError(f"{name} does not tell which encoder made its {family[:40]} vectors. Export it again.")
        encoders[family] = MadeBy(fingerprint, called[:200], dims)
    return encoders


def read_object(raw: bytes, where: str) -> dict[str, Any]:
    """A JSON object; ExchangeError for anything else."""
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"{where} is no JSON ({type(error).__name__}): the file is damaged. Export it again.") from error
    if not isinstance(content, dict):
        raise ExchangeError(f"{where} is no JSON object: the file is damaged. Export it again.")
    return content
