"""The advisory locks of a library, all of them: this package's own numbers. Versions that share a library meet by them, so none ever changes."""

from __future__ import annotations

MIGRATION_LOCK = 4_703_001
WRITER_LOCK = 4_703_002
BUILDER_LOCK = 4_703_003
RUN_LOCK = 4_703_004  # beside the run's own number; held as long as the run's session
SETTINGS_LOCK = 4_703_005
PGVECTOR_LOCK = 4_703_006
