"""Which images may be hits: a filter text, parsed by a grammar into SQL conditions with parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

__all__ = ["Filter"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on the table `images` under the alias `i`, and its named parameters, which never clash with a search's."""

    condition: sql.Composable
    parameters: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # as a person would write it, for messages
