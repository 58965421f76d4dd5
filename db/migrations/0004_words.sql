-- Words of prompts, whatever stands between them. Shipped: never edit, add the next number.

-- In prompts a comma, a slash or an underscore parts words; PostgreSQL's own parser makes "cat/dog" a file and "dress.She" a host.
-- Words as they are, of any language; beyond 100,000 characters a text could pass what a tsvector takes.
CREATE FUNCTION words_of(content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('simple'::regconfig, translate(left(content, 100000),
        '!"#$%&''()+,-./:;<=>?@[\]^_`{|}~ «·»–—‘’“”…、。「」！（），：；？*', repeat(' ', 54)))
$$;
DROP INDEX texts_words;
CREATE INDEX texts_words ON texts USING gin (words_of(joined));
