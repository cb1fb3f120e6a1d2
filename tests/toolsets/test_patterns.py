"""Patterns of JSON Schema, which are JavaScript's, as Python matches them."""

import resource
import time

import pytest

from trustee_jax.toolsets import Tool, check_arguments
from trustee_jax.toolsets.patterns import is_fast, is_key_pattern, is_pattern, matches, python_text


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


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?!x)(\p{L}+\s?)*$",
        r"^\p{Emoji}(?:a|a)*$",
        r"^(?!x)a*a*a*b",
        r"^(?!x)(.*),(.*),(.*)$",
        r"(?=x)?a*a*b",
        r"(\w+)\s*\1\s*\1",
        r"(?m)^(?!x).*,.*$",
    ],
)
def test_no_spelling_hides_what_can_hang(pattern):
    assert is_pattern(pattern) and not is_fast(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a*a*a*a*a*b", "a" * 1000),
        (r"^\s*\w+\s*\w+\s*\w+\s*\w+$", "a" * 999 + "!"),
        ("^(.*),(.*),(.*),(.*)$", "," * 999 + "\n"),
        (r"^[^@]+@[^@]+\.[^@]+\.[^@]+$", "a@" + "." * 997 + "@"),
        (r"^(\p{L}+\s?)*$", "a" * 999 + "!"),
        (r"^(?=.*\d)(?=.*[a-z]).{8,}$", "a" * 1000),
        (r"^(?!.*--)(.*)-(.*)$", "a" * 1000),
        (r"^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?(?<!-)$", "a-" * 500),
    ],
)
def test_what_is_fast_takes_no_time(pattern, text):
    started = time.monotonic()
    assert is_fast(pattern) and not matches(pattern, text)
    assert time.monotonic() - started < 5  # minutes to years otherwise


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}(a{1000}){5000}",
        r"^\p{L}((a{1000}){1000}){1000}$",
        r"^\p{L}" + r"(?:(?:a{300}){300})" * 50,
        "a" * 10_001,
    ],
)
def test_what_would_take_much_memory_is_not_compiled(pattern):
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not is_pattern(pattern) and not is_fast(pattern)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 100_000  # KiB


def test_texts_of_any_code_points_are_matched():
    assert matches("^a.b$", "a\ud800b") and not matches("^a$", "a\ud800")
    assert matches("^[\ud800-\udfff]$", "\ud800") and not matches(r"^[\ud800-\udfff]$", "a")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^[\s\S]$", "\n"),
        (r"^[^\s]$", "é"),
        (r"^\S$", "é"),
        (r"^[\S]$", "é"),
        (r"^[\s]$", "\u2003"),
        (r"^[\b]$", "\b"),
        (r"^a\b", "a-"),
        (r"^[^]a]$", "\n"),
        (r"^\u00e9$", "é"),
        (r"^a{,2}$", "aa"),
        (r"(?i)^é$", "É"),
        (r"^(?i:a)$", "A"),
    ],
)
def test_both_engines_read_the_same(pattern, text):
    assert matches(pattern, text) and matches(f"(?=){pattern}", text)


@pytest.mark.parametrize("pattern", [r"^\p{L}$|^\|$", r"^[\p{L}|]+$", r"^(\p{L}[|x])+$"])
def test_a_choice_that_is_not_repeated_cannot_hang(pattern):
    assert is_fast(pattern)


def test_patterns_of_names_are_those_that_the_validator_reads():
    assert is_key_pattern("^x-[a-z]+$")
    assert not is_key_pattern("^a*a*a*b") and not is_key_pattern("a" * 10_001)
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
