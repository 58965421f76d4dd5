"""What passes a filter, for tests."""

from __future__ import annotations

from diffusion_toolkit import db
from psycopg import sql


def passing(conn: db.Connection, filter: db.Filter) -> list[int]:
    """Ids of the images that pass; the same by either of the filter's conditions."""
    statement = "SELECT i.id FROM images i WHERE {} ORDER BY i.id"
    found = [conn.execute(sql.SQL(statement).format(one), filter.parameters).fetchall() for one in (filter.condition, filter.narrow)]
    assert found[0] == found[1]
    return [image_id for (image_id,) in found[0]]
