-- More of what a file tells, how sure each answer is, and which version of the reader gave it. Shipped: never edit, add the next number.

ALTER TABLE images
    ADD guidance            double precision,              -- distilled guidance, beside cfg
    ADD denoise             double precision,
    ADD vae                 text,
    ADD text_encoders       jsonb NOT NULL DEFAULT '[]',   -- names
    ADD controlnets         jsonb NOT NULL DEFAULT '[]',   -- of {"name", "strength"}
    ADD asked_width         bigint,                        -- of the sampler; the file may have been scaled or cropped since
    ADD asked_height        bigint,
    ADD prompt_confidence   text CHECK (prompt_confidence IN ('exact', 'inferred', 'unknown')),   -- null: the file has none
    ADD negative_confidence text CHECK (negative_confidence IN ('exact', 'inferred', 'unknown')),
    ADD settings_confidence text CHECK (settings_confidence IN ('exact', 'inferred', 'unknown')),
    ADD reading             jsonb NOT NULL DEFAULT '{}',   -- where each answer came from, and the passes of the sampler
    ADD reader              integer NOT NULL DEFAULT 1;    -- an older one's answers are made anew from `metadata`
ALTER TABLE images ALTER reader DROP DEFAULT;

ALTER TABLE metadata ADD place text NOT NULL DEFAULT '';   -- where in the file the piece lay

ALTER TABLE paths ADD sidecar_mtime_ns bigint NOT NULL DEFAULT 0;   -- of the texts beside the file; 0: there are none
