-- Most files tell no date of their own (ComfyUI's PNGs do not), so that of the file on disk stands in. Shipped: never edit, add the next number.

ALTER TABLE images ADD created_own boolean NOT NULL DEFAULT true;   -- false: `created` is the earliest mtime seen of the image's files, or null
UPDATE images i SET created_own = false, created = (
    SELECT to_timestamp(min(p.mtime_ns) / 1e9) FROM paths p
    WHERE p.image_id = i.id AND p.mtime_ns > 86400000000000             -- a clock that was never set stands at the first day of 1970
) WHERE i.created IS NULL;
