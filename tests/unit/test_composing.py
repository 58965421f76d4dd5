"""Word vectors learned from texts' vectors, and prompts put together of phrases so that they come near to a target."""

from __future__ import annotations

import random

import numpy as np
import pytest
from diffusion_toolkit.embedders.composing import TRIED, WordVectors, compose
from diffusion_toolkit.embedders.phrases import words_of

WORDS = [f"word{n}" for n in range(40)]
MEANING = np.random.default_rng(3).normal(size=(40, 64))
COMMON = np.random.default_rng(4).normal(size=64)


def encode(text: str) -> np.ndarray:
    """A stand-in encoder [64]: what all texts have in common, and the mean of the words' own vectors."""
    found = [MEANING[WORDS.index(word)] for word in dict.fromkeys(words_of(text)) if word in WORDS]
    vector = COMMON + 2 * np.sum(found or [0 * COMMON], axis=0) / max(1, len(found)) ** 0.5
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def narrowed(text: str) -> np.ndarray:
    vector = encode(text) + 30 * COMMON / np.linalg.norm(COMMON)
    return vector / np.linalg.norm(vector)


def texts(n: int = 300) -> list[str]:
    chance = random.Random(1)
    return [", ".join(chance.sample(WORDS, chance.randint(2, 5))) for _ in range(n)]


@pytest.fixture(scope="module")
def known() -> WordVectors:
    made = texts()
    return WordVectors(made, np.stack([encode(text) for text in made]))


def near(target: np.ndarray, known: WordVectors):
    return lambda prompts: known.estimate([words_of(" ".join(prompt)) for prompt in prompts]) @ target


def test_the_estimate_of_a_text_never_seen_is_near_its_vector(known: WordVectors):
    for text in ("word1", "word2, word3", "word4, word5, word6, word7, word8"):
        assert known.estimate([words_of(text)])[0] @ encode(text) > 0.9


def test_it_parts_what_always_comes_with_something_common():
    """Mean vectors of the texts that hold a word would tell two words of every text alike."""
    made = [f"word0, {word}" for word in WORDS[1:]] * 2 + [f"{word}, {other}" for word, other in zip(WORDS[1:], WORDS[2:])]
    known = WordVectors(made, np.stack([encode(text) for text in made]))
    [one, other] = known.estimate([["word0"], ["word9"]])
    assert one @ encode("word0") > 0.8 and one @ encode("word9") < 0.7
    assert other @ encode("word9") > other @ encode("word0")


def test_how_good_estimates_are_is_told_by_texts_that_were_left_out(known: WordVectors):
    made = texts()
    halves = WordVectors(made[:150], np.stack([encode(text) for text in made[:150]]))
    truly = np.mean([halves.estimate([words_of(text)])[0] @ encode(text) for text in made[150:]])
    assert halves.held_out == pytest.approx(truly, abs=0.05)


def test_random_vectors_are_told_as_badly_estimated():
    made = texts()
    noise = np.random.default_rng(1).normal(size=(len(made), 64)).astype(np.float32)
    assert WordVectors(made, noise / np.linalg.norm(noise, axis=1, keepdims=True)).held_out < 0.3


def test_a_few_texts_are_enough_though_nothing_tells_how_good_it_is():
    known = WordVectors(["word1", "word2"], np.stack([encode("word1"), encode("word2")]))
    assert known.held_out is None
    assert known.estimate([["word1"]])[0] @ encode("word1") > known.estimate([["word2"]])[0] @ encode("word1")


def test_one_text_and_a_prompt_of_unknown_words_are_no_trouble():
    known = WordVectors(["word1"], np.stack([encode("word1")]))
    assert np.isfinite(known.estimate([["never", "seen"], []])).all()


def test_the_phrases_of_the_target_are_found(known: WordVectors):
    composed = compose(WORDS, near(encode("word3, word8, word21"), known))
    assert set(composed.phrases) == {"word3", "word8", "word21"}
    assert composed.score == pytest.approx(1, abs=0.05)


def test_with_an_encoder_the_score_is_the_encoders_own(known: WordVectors):
    target = encode("word3, word8, word21")
    asked = []

    def truly(prompts):
        asked.extend(prompts)
        return np.array([encode(" ".join(prompt)) @ target for prompt in prompts])

    composed = compose(WORDS, near(target, known), truly)
    assert set(composed.phrases) == {"word3", "word8", "word21"}
    assert composed.score == pytest.approx(encode(" ".join(composed.phrases)) @ target)
    assert composed.alone == pytest.approx([encode(phrase) @ target for phrase in composed.phrases])
    assert len(asked) <= 2 * (TRIED + 4)  # of the 40 phrases only the most promising are encoded


def test_each_phrase_adds_to_the_score(known: WordVectors):
    score = near(encode("word1, word2, word3, word4"), known)
    phrases = compose(WORDS, score).phrases
    found = [float(score([phrases[:n]])[0]) for n in range(1, len(phrases) + 1)]
    assert all(later > earlier for earlier, later in zip(found, found[1:]))


def test_in_a_space_where_all_vectors_are_near_each_other_the_same_phrases_are_found(known: WordVectors):
    """As those of some encoders are: what tells texts apart is a thousandth of the cosine."""
    made = texts()
    narrow = WordVectors(made, np.stack([narrowed(text) for text in made]))
    target = narrowed("word3, word8, word21")
    assert target @ narrowed("word5") > 0.995
    assert set(compose(WORDS, near(target, narrow)).phrases) == {"word3", "word8", "word21"}


def test_no_more_phrases_than_asked_for(known: WordVectors):
    assert len(compose(WORDS, near(encode("word1, word2, word3, word4"), known), most=2).phrases) == 2


def test_a_phrase_that_says_nothing_new_is_passed_over():
    composed = compose(["a red fox", "red fox", "Fox", "snow"], lambda prompts: np.array([float(sum(map(len, prompt))) for prompt in prompts]))
    assert composed.phrases == ("a red fox", "snow")


def test_what_later_phrases_made_needless_is_taken_out():
    worth = {("b",): 0.5, ("b", "a"): 0.6, ("b", "c"): 0.6, ("a",): 0.4, ("c",): 0.4, ("b", "a", "c"): 0.7, ("a", "c"): 0.9}
    composed = compose(["a", "b", "c"], lambda prompts: np.array([worth.get(tuple(prompt), 0.0) for prompt in prompts]))
    assert (composed.phrases, composed.score) == (("a", "c"), 0.9)


def test_a_prompt_that_is_given_to_begin_with_is_not_made_worse():
    worth = {("a", "b", "c"): 0.9, ("b",): 0.5}  # no single step from nothing leads there
    score = lambda prompts: np.array([worth.get(tuple(prompt), 0.1) for prompt in prompts])
    assert compose(["a", "b", "c", "d"], score).phrases == ("b",)
    assert compose(["a", "b", "c", "d"], score, beginnings=[["d"], ["a", "b", "c"]]).phrases == ("a", "b", "c")
    misled = lambda prompts: np.zeros(len(prompts))
    assert compose(["a", "b", "c", "d"], misled, score, beginnings=[["d"], ["a", "b", "c"]]).phrases == ("a", "b", "c")


def test_a_prompt_that_is_given_to_begin_with_is_cut_to_the_most_phrases():
    composed = compose(["a", "b", "c"], lambda prompts: np.array([float(len(prompt)) for prompt in prompts]), most=2, beginnings=[["c", "b", "a"]])
    assert len(composed.phrases) == 2


def test_without_phrases_there_is_no_prompt():
    with pytest.raises(ValueError, match="no phrases"):
        compose([], lambda prompts: np.zeros(len(prompts)))


def test_it_can_be_cancelled(known: WordVectors):
    class Cancelled(BaseException):
        pass

    def progress(stage: str, done: int, total: int) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        compose(WORDS, near(encode("word1, word2"), known), progress=progress)
