# ruff: noqa: RUF001  (characters that look alike are what it is about)
"""Searching as people write: other scripts, forms of a letter, numbers, parts of words."""

from __future__ import annotations

import unicodedata
from collections.abc import Generator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtrail import Journal, step
from rowtrail.errors import UsageError
from rowtrail.history._folding import aligned, folded, indexed
from rowtrail.history._snippets import joined, snippet
from tests._sample import IS_FULL

SAID = {
    "japanese": "佐藤美咲です。配達は19時から21時の間にお願いします。",
    "chinese": "您的订单已经发货,预计明天下午送达北京市朝阳区",
    "korean": "주문하신 상품은 내일 서울로 배송됩니다",
    "thai": "พัสดุของคุณจะถูกจัดส่งในวันพรุ่งนี้",
    "arabic": "سيتم تسليم الطَّلَب إلى أحمد غدًا",
    "hebrew": "ההזמנה של שָׁלוֹם תגיע מחר",
    "hindi": "आपका पार्सल कल दिल्ली पहुँचेगा",
    "russian": "Ёлкина Мария просит перенести доставку",
    "greek": "Ο Οδυσσέας ζήτησε επιστροφή χρημάτων",
    "turkish": "İstanbul'daki depo kapalı",
    "german": "Herr Weißhaupt wohnt in der Hauptstraße 5 bei Müller",
    "nordic": "Søren Ærø bestilte smørrebrød i Łódź",
    "french": "L'élève a payé à Besançon",
    "emoji": "paid✅ and the party 🎉👍🏽 begins",
    "wide": "ＯＲＤＥＲ ＫＡ７７ は ﾎﾃﾙ に",
    "number": "The queue holds 48,213 messages, the budget 1,234.56 EUR",
    "digits": "المبلغ ٤٥٦٧٨ ريال",
    "names": "佐々木 called send_email(SORRY-7Q4X)",
}
ASKED = [
    ("佐藤さん", "japanese"), ("配達は何時ですか", "japanese"), ("美咲", "japanese"),
    ("藤", "japanese"),
    ("订单什么时候送达", "chinese"), ("朝阳区", "chinese"), ("京", "chinese"),
    ("상품이 서울에", "korean"), ("배송", "korean"), ("จัดส่ง", "thai"), ("พัสดุวันพรุ่งนี้", "thai"),
    ("الطلب", "arabic"), ("احمد", "arabic"), ("שלום", "hebrew"), ("दिल्ली", "hindi"),
    ("ёлкина", "russian"), ("ЕЛКИНА", "russian"), ("οδυσσεας", "greek"), ("ΕΠΙΣΤΡΟΦΗ", "greek"),
    ("istanbul", "turkish"), ("ISTANBUL kapali", "turkish"),
    ("Weisshaupt", "german"), ("hauptstrasse", "german"), ("HAUPTSTRASSE", "german"),
    ("muller", "german"), ("Soren", "nordic"), ("smorrebrod", "nordic"), ("lodz", "nordic"),
    ("Aero", "nordic"), ("eleve paye", "french"), ("BESANCON", "french"), ("✅", "emoji"),
    ("🎉", "emoji"), ("👍", "emoji"), ("👍🏻", "emoji"), ("order ka77", "wide"), ("ホテル", "wide"),
    ("48213", "number"), ("48,213", "number"), ("48 213", "number"), ("48.213", "number"),
    ("48’213", "number"), ("４８２１３", "number"), ("1234.56", "number"), ("1 234,56", "number"),
    ("1.234,56", "number"), ("45678", "digits"), ("45,678", "digits"), ("٤٥٦٧٨", "digits"),
    ("佐々木さん", "names"), ("7q4x", "names"), ("email", "names"), ("5", "german"),
    ("where does the Weisshaupt live", "german"), ("Wo ist der Herr Müller?", "german"),
    ("Hauptstr", "german"),
]  # fmt: skip


@step(name="say", kind="tool")
def say(what: str, text: str) -> None:
    return None


@pytest.fixture(scope="module")
def spoken() -> Generator[Journal]:
    with Journal(":memory:") as journal:
        for name, text in SAID.items():
            with journal.run(name, thread_id=name):
                say("", text)
        yield journal


@pytest.mark.parametrize(("asked", "thread"), ASKED, ids=[asked for asked, _ in ASKED])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_a_person_types_finds_the_text_first(
    spoken: Journal, asked: str, thread: str, form: Literal["NFC", "NFD"]
) -> None:
    answer = spoken.search(unicodedata.normalize(form, asked))

    assert [row["thread_id"] for row in answer][:1] == [thread]
    assert "[" in answer.to_dicts()[0]["snippet"]


def test_stop_words_weigh_nothing(journal: Journal) -> None:
    with journal.run("one"):
        say("", "what is the status of it, and who is the one to ask about that")
        say("", "refund for Ada")

    assert [row["snippet"] for row in journal.search("what is the refund about")] == [
        "[refund] for Ada"
    ]
    assert len(journal.search("who is the")) == 1  # nothing else was asked for
    assert len(journal.search('"the status of"')) == 1


def test_what_is_not_whole_or_not_there_says_what_to_try(journal: Journal) -> None:
    with journal.run("one", thread_id="north"):
        say("", "the invoice was refunded")
    with journal.run("two", thread_id="south"):
        say("", "rain")

    def note(text: str, **how: Any) -> str:
        return journal.search(text, **how).note or ""

    assert note("invoice") == ""
    assert "these have some" in note("invoice rain")
    assert "no text has 'zebra'" in note("invoice zebra")
    assert "did you mean 'invoic'?" in note("invioce")
    assert "words that begin with 'invo'" in note("invo")
    assert "1 texts outside of the filters" in note("invoice", thread_id="south")
    assert "fewer or other words" in note("giraffe")


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Co", "Cn")), min_size=1, max_size=12
)


@settings(max_examples=3_000 if IS_FULL else 150)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_forms_of_one_text_are_folded_alike(text: str) -> None:
    names: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")
    forms = {folded(unicodedata.normalize(form, text)) for form in names}

    assert len(forms) == 1
    known = aligned(text)
    assert known.body.replace("\u200b", "") == indexed(text).replace("\u200b", "") or not (
        unicodedata.is_normalized("NFC", text)
    )


@settings(max_examples=3_000 if IS_FULL else 60, deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=5), at=st.integers(0, 4))
def test_a_word_of_a_text_finds_it_and_is_in_the_snippet(words: list[str], at: int) -> None:
    word = words[at % len(words)].replace('"', " ")
    with Journal(":memory:") as journal:
        with journal.run("one"):
            say("", " ".join(words))
        found = journal.search(word).to_dicts()

    has_word = any(char.isalnum() for char in folded(word))
    assert not has_word or found
    assert not has_word or "[" in found[0]["snippet"]


@settings(max_examples=1_000)
@given(
    text=st.text("ab \n。é漢👍", min_size=1, max_size=900),
    ends=st.lists(st.tuples(st.integers(0, 880), st.integers(1, 12)), max_size=8),
    chars=st.integers(40, 400),
)
def test_a_snippet_never_cuts_a_hit_and_keeps_its_length(
    text: str, ends: list[tuple[int, int]], chars: int
) -> None:
    marks = joined([(lo, min(lo + n, len(text))) for lo, n in ends if lo < len(text)])

    shown = snippet(text, marks, chars)

    longest = max((hi - lo for lo, hi in marks), default=0)
    assert len(shown) <= max(chars, longest + chars // 4) + 2 * len(marks) + 2
    assert shown.count("[") == shown.count("]") > 0 or not marks
    plain = shown.replace("[", "").replace("]", "").strip("…")
    assert "".join(plain.split()) in "".join(text.split())


def test_a_snippet_of_a_long_text_shows_what_follows_the_word(journal: Journal) -> None:
    with journal.run("one"):
        say("", "lead " * 200 + "the needle is behind the third door on the left " + "tail " * 300)

    (row,) = journal.search("needle")
    (short,) = journal.search("needle", chars=60)

    assert "the [needle] is behind the third door on the left" in row["snippet"]
    assert 200 <= len(row["snippet"]) <= 300
    assert "[needle] is behind" in short["snippet"] and len(short["snippet"]) <= 64
    with pytest.raises(UsageError, match="chars=5"):
        journal.search("needle", chars=5)


def test_a_number_in_groups_is_shown_as_it_was_said(journal: Journal) -> None:
    with journal.run("one"):
        say("", "The queue holds 48,213 messages")

    assert journal.search("48213").to_dicts()[0]["snippet"] == "The queue holds [48,213] messages"
