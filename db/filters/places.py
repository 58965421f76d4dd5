"""Where an image's files lie: conditions on their folders, names, endings and roots."""

from __future__ import annotations

import re

from psycopg import sql

from .sql_parts import Parameters, Test, like
from .values import filled

_SAME = (("jpg", "jpeg", "jpe", "jfif"), ("tif", "tiff"), ("heic", "heif"))  # endings of one format
# A place that an image has left, while another file of it is there, is none of it; one that is gone altogether is found by each place that it
# was known in: which of them were the last is not told by `seen` or `missing`, since a run writes and marks copies one after the other.
# So written it joins those left, of which an index gives the few: an OR with a subquery is taken for so dear, where `paths` was never
# analysed, that how the rest is joined no longer counts for the planner, and it compares each image with each file.
STANDS = """NOT EXISTS (
    SELECT FROM paths f_m WHERE f_m.root_id = f_p.root_id AND f_m.path = f_p.path AND f_m.missing IS NOT NULL
    AND EXISTS (SELECT FROM paths f_o WHERE f_o.image_id = f_m.image_id AND f_o.missing IS NULL)
)"""
# The same for a statement on `paths` alone, which ends with the first rows that it needs.
STANDS_ALONE = "(f_p.missing IS NULL OR NOT EXISTS (SELECT FROM paths f_o WHERE f_o.image_id = f_p.image_id AND f_o.missing IS NULL))"
_BELOW = "SELECT FROM ({}) f_b WHERE f_b.image_id = i.id"
_FILES_BELOW = (
    f"SELECT f_p.image_id FROM roots f_r JOIN paths f_p ON f_p.root_id = f_r.id AND f_p.path ^@ {{}} AND {STANDS}"
)  # the join lets the key of `paths` find the folder, root by root
_FILES_ALIKE = f"SELECT f_p.image_id FROM roots f_r JOIN paths f_p ON f_p.root_id = f_r.id AND f_p.path {{}} {{}} AND {STANDS}"
_BELOW_WHOLE = (
    "SELECT FROM roots f_r JOIN paths f_p ON f_p.root_id = f_r.id WHERE f_p.image_id = i.id"
    f" AND (rtrim(replace(f_r.path, '\\', '/'), '/') || '/' || f_p.path) ^@ {{}} AND {STANDS}"
)  # a root of Windows is kept with its backslashes, paths below it with slashes
# The same of a drive or a share: Windows takes it, and the folders down to the root, in any case.
_BELOW_WINDOWS = f"""
    SELECT FROM paths f_p JOIN roots f_r ON f_r.id = f_p.root_id
    CROSS JOIN LATERAL (SELECT rtrim(replace(f_r.path, '\\', '/'), '/') || '/' AS above, {{}}::text AS asked) f_a
    WHERE f_p.image_id = i.id AND lower(left(f_a.above, length(f_a.asked))) = lower(left(f_a.asked, length(f_a.above)))
    AND f_p.path ^@ substr(f_a.asked, length(f_a.above) + 1) AND {STANDS}
"""
# Of either: nothing that follows the folder, as many characters on, is a folder again.
_NO_DEEPER = " AND strpos(substr(rtrim(replace(f_r.path, '\\', '/'), '/') || '/' || f_p.path, {}), '/') = 0"
_FILE = f"SELECT FROM paths f_p WHERE f_p.image_id = i.id AND f_p.path {{}} {{}} AND {STANDS}"
_ROOT = f"SELECT FROM roots f_r JOIN paths f_p ON f_p.root_id = f_r.id WHERE f_p.image_id = i.id AND {{}} AND {STANDS}"


def folder_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That a file of the image lies below this folder of a root, or of the disk; with = in it and not deeper.

    The root's name may lead: output/cats is the folder output/cats of any root, and the folder cats of the root output. A
    name alone is that of a folder: `root` has those of roots, and a share of all files would be the planner's guess for each.
    """
    path = text.replace("\\", "/")
    if re.match(r"/|[A-Za-z]:", path):
        asked = filled(path).rstrip("/") + "/"
        below = sql.SQL(_BELOW_WHOLE if re.match("/(?!/)", path) else _BELOW_WINDOWS).format(parameters.add(asked))
        if operator == "=":
            below += sql.SQL(_NO_DEEPER).format(parameters.add(len(asked) + 1))
        return Test(below, subquery=True)
    folder = path.strip("/").removeprefix("./").strip("/")
    folder = "" if folder == "." else folder
    ways = [_below(folder, operator, parameters)]
    root, _, rest = folder.partition("/")
    if rest and "*" not in root:
        named = _named("=" if "*" not in rest else operator, root, parameters)
        ways.append(sql.SQL("{} AND {}").format(_below(rest, operator, parameters), named))
    return Test(sql.SQL(_BELOW).format(sql.SQL(" UNION ALL ").join(ways)), subquery=True)


def _below(folder: str, operator: str, parameters: Parameters) -> sql.Composable:
    if "*" in folder and operator == "=":  # a star of the last name is a part of a name, any other may be folders
        above, slash, last = (re.sub(r"([^\w\s*])", r"\\\1", part) for part in folder.rpartition("/"))
        pattern = f"^{re.sub('[*]+', '.*', above)}{slash}{re.sub('[*]+', '[^/]*', last)}/[^/]*$"
        return sql.SQL(_FILES_ALIKE).format(sql.SQL("~"), parameters.add(pattern))
    if "*" in folder:
        return sql.SQL(_FILES_ALIKE).format(sql.SQL("ILIKE"), parameters.add(like(f"{folder}/*", whole=True)))
    prefix = f"{folder}/" if folder else ""
    below = sql.SQL(_FILES_BELOW).format(parameters.add(prefix))
    if operator == "=":
        below += sql.SQL(" AND f_p.path NOT LIKE {}").format(parameters.add(like(f"{prefix}*/*", whole=True)))
    return below


def file_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That a file of the image is named so, or in part."""
    pattern = r"[^/]*".join(re.sub(r"([^\w\s])", r"\\\1", part) for part in ([text] if operator == "=" else re.split(r"\*+", text)))
    pattern = f"(^|/){pattern}$" if operator == "=" or "*" in text else f"{pattern}[^/]*$"
    return Test(sql.SQL(_FILE).format(sql.SQL("~" if operator == "=" else "~*"), parameters.add(pattern)), subquery=True)


def format_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That a file of the image has this ending, or another of the same format."""
    ending = filled(text.strip().lstrip("."))
    alike = next((group for group in _SAME if ending.lower() in group), (ending,))
    patterns = parameters.add([like(f"*.{one}", whole=True) for one in alike])
    return Test(sql.SQL(_FILE).format(sql.SQL("ILIKE"), sql.SQL("ANY({}::text[])").format(patterns)), subquery=True)


def root_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That a file of the image lies below the root of this name."""
    return Test(sql.SQL(_ROOT).format(_named(operator, text, parameters)), subquery=True)


def _named(operator: str, root: str, parameters: Parameters) -> sql.Composable:
    return sql.SQL("f_r.name = {}" if operator == "=" else "lower(f_r.name) = lower({})").format(parameters.add(root))
