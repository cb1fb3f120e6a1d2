"""Patterns of JSON Schema, which are JavaScript's, as Python matches them."""

import pytest

from trustee_jax.tools import Tool, check_arguments
from trustee_jax.tools.patterns import is_fast, is_key_pattern, is_pattern, matches, python_text


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^[\p{L}\p{N} ]{1,40}$", "Zürich 12", "a-b"),
        (r"^\p{Lu}\P{Lu}+$", "Émile", "EMILE"),
        (r"[\p{Script=Greek}]", "abλ", "abc"),
        (r"^\p{Emoji}$", "😀", "a"),
        (r"^(?<year>\d{4})-\k<year>$", "2024-2024", "2024-2025"),
        (r"^(?P<year>\d{4})-(?P=year)$", "2024-2024", "2024-2025"),
        (r"^\/a\/$", "/a/", "a"),
        (r"^a[^]b$", "a\nb", "ab"),
        (r"^a[^]*$", "a\nb", "b"),
        (r"^[]]$", "]", "["),
        (r"^[^]]$", "[", "]"),
        (r"^\cJ$", "\n", "J"),
        (r"^[\cA-\cC]$", "\x02", "c"),
        (r"^[\u{1F600}-\u{1F64F}]$", "😀", "a"),
        (r"^\ud83d\ude00$", "😀", "😁"),
        (r"^\u0041\x42$", "AB", "ab"),
        (r"^[[a]$", "[", "b"),
        (r"^[&&|~]+$", "&~", "a"),
        (r"(?<=a+)b$", "aab", "b"),
        (r"^(?=.*\d).{3,}$", "ab1", "abc"),
        (r"^\$[$]$", "$$", "$"),
        ("^a$", "a", "a\n"),
        (r"^\w+$", "a_1", "naïve"),
        (r"^\W$", "é", "e"),
        (r"^[\w.-]+$", "a.b-c", "é"),
        (r"^[\w-.]+$", "a.b-c", "`"),
        (r"^[+-\d]+$", "+1-2", "."),
        (r"^[-\d]+$", "1-2", "."),
        (r"^[\d-z]+$", "1-z", "a"),
        (r"^\s$", "\u00a0", "a"),
        (r"^\d[\d.]+$", "1.5", "\u0663\u0663"),
        (r"^\D$", "\u0663", "3"),
        ("", "anything", None),
    ],
)
def test_meaning(pattern, good, bad):
    assert is_pattern(pattern) and is_fast(pattern)
    assert matches(pattern, good)
    assert bad is None or not matches(pattern, bad)


@pytest.mark.parametrize("pattern", ["[", "(", "*a", "[z-a]", "(?y)a", r"\p{Nope}", r"\u{110000}"])
def test_what_cannot_be_matched_is_no_pattern(pattern):
    assert not is_pattern(pattern) and not is_fast(pattern)


def test_what_is_no_text_is_left_to_other_rules():
    assert is_pattern(3)


@pytest.mark.parametrize("pattern", [r"^(\p{L}+\s?)*$", r"^\p{L}(?:a|a)*$"])
def test_no_spelling_hides_what_can_hang(pattern):
    assert is_pattern(pattern) and not is_fast(pattern)


@pytest.mark.parametrize("pattern", [r"^\p{L}$|^\|$", r"^[\p{L}|]+$", r"^(\p{L}[|x])+$"])
def test_a_choice_that_is_not_repeated_cannot_hang(pattern):
    assert is_fast(pattern)


def test_patterns_of_names_are_those_that_the_validator_reads():
    assert is_key_pattern("^x-[a-z]+$")
    assert not is_key_pattern(r"^\p{L}$") and not is_key_pattern("^(a+)+$")
    assert not is_key_pattern(r"^(?<x>a)$") and is_key_pattern(python_text(r"^(?<x>a)$"))


def test_a_call_is_held_to_it():
    pattern = r"^[\p{L}\p{N} ]{1,40}$"
    fields = {"title": {"type": "string", "pattern": pattern}}
    tool = Tool("note_write", "Write a note.", {"type": "object", "properties": fields})
    assert check_arguments(tool, {"title": "Käse 7"}) == []
    assert check_arguments(tool, {"title": "a/b"}) == [
        f"parameter 'title' must match the pattern {pattern!r}, got 'a/b'"
    ]
