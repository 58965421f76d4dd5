-- More signs part the words of prompts: those of Spanish, German and East Asian texts, bullets, arrows, and the space of no width.
-- Shipped: never edit, add the next number.

CREATE OR REPLACE FUNCTION words_of(content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('simple'::regconfig, translate(left(content, 100000),
        '!"#$%&''()+,-./:;<=>?@[\]^_`{|}~*' || E'\u00a0\u00a1\u00ab\u00b7\u00bb\u00bf\u00d7\u200b\u2010\u2011\u2013\u2014\u2018\u2019\u201a'
        || E'\u201c\u201d\u201e\u2022\u2026\u2039\u203a\u2192\u2212\u3001\u3002\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011\u30fb'
        || E'\uff01\uff08\uff09\uff0c\uff0f\uff1a\uff1b\uff1f\uff5e', repeat(' ', 100)))
$$;
REINDEX INDEX texts_words;
