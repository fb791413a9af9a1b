"""The corpus of errors in one test: six hundred take too long to be run for each mutant."""

from __future__ import annotations

from llmstack.providers.openai import hosts
from tests.providers import test_corpus as corpus


def test_means_what_the_corpus_says() -> None:
    """As `tests.providers.test_corpus`."""
    for name, row in corpus.ROWS:
        corpus.test_means_what_the_corpus_says(name, row)


def test_each_row_of_words_has_a_sample() -> None:
    """The same."""
    for _, found, _ in hosts.WORDS:
        corpus.test_each_row_of_words_has_a_sample(found.pattern)


def test_no_caller_can_put_a_key_aside() -> None:
    """The same."""
    for name in corpus.FORMATS:
        for said in ("API key not valid", "your credit balance", "usage limits"):
            corpus.test_no_caller_can_put_a_key_aside(name, said)


test_the_corpus_is_broad = corpus.test_the_corpus_is_broad
test_each_code_of_the_tables_has_a_sample = corpus.test_each_code_of_the_tables_has_a_sample
