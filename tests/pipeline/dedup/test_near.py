"""Near copies are what a plain count over Python's own sets says, and numbers are never folded."""

import itertools
import random
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.dedup import near as module
from pipeline.dedup.grams import joined, n_grams, share_enough
from pipeline.dedup.minhash import rows_a_band
from pipeline.dedup.near import Near, near_clusters

quick = settings(max_examples=80)
LINE = "the boat leaves while rain falls on every quiet street and lamps burn in old windows of our small town"
WORDS = LINE.split()
HAN = "小船离开码头的时候雨落在每条安静街道上旧窗里灯还亮着我们镇子很小没有人说话"


def clusters(texts: list[str], near: Near = Near()) -> list[int]:  # noqa: B008
    return near_clusters(pl.Series(texts, dtype=pl.String), near).tolist()


def words(count: int, seed: int, vocabulary: int = 3000) -> list[str]:
    """Words without digits, none of them a number word."""
    draw = random.Random(seed)
    return ["".join("bdgklmprst"[int(digit)] for digit in f"{draw.randrange(vocabulary):04}") for _ in range(count)]


def han(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    usable = [sign for sign in map(chr, range(0x5000, 0x9000)) if sign not in "千半百三十九二五八六四七两万亿"]
    return [draw.choice(usable) for _ in range(count)]


def similarity(one: str, other: str, n: int = 5) -> float:
    """Jaccard similarity of n-grams; the texts hold small letters, spaces and Chinese characters only."""
    sets: list[set[tuple[str, ...]]] = []
    for text in (one, other):
        tokens = re.findall(r"[a-z]+|[\u4e00-\u9fff]", text)
        sets.append({tuple(tokens[i : i + n]) for i in range(max(len(tokens) - n + 1, 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


SPELLINGS = {
    "en": [" ".join(WORDS), " ".join(WORDS).upper(), ",  ".join(WORDS) + "!", "\n".join(WORDS).title()],
    "zh": [HAN, "，".join(HAN), HAN + "。", f"“{HAN}”", " ".join(HAN)],
}


@pytest.mark.parametrize("language", SPELLINGS)
def test_case_spaces_and_marks_of_prose_do_not_count(language: str) -> None:
    assert set(clusters(SPELLINGS[language])) == {0}


LONG = {"en": " ".join(words(150, 1)), "zh": "".join(han(150, 1))}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("has 7 pens", "has 8 pens"),
        ("has 7 pens and 8 cups", "has 8 pens and 7 cups"),
        ("5 - 3 = ?", "5 + 3 = ?"),
        ("5 * 3", "5 / 3"),
        ("5 × 3", "5 ÷ 3"),
        ("(5 + 3) * 2", "5 + (3 * 2)"),
        ("-5 degrees", "5 degrees"),
        ("1.5 litres", "15 litres"),
        ("seven pens", "eight pens"),
        ("twenty pens", "twenty one pens"),
        ("三个", "四个"),
        ("十一个", "十个"),
        ("两倍", "三倍"),
        ("٣ pens", "٤ pens"),
    ],
)
@pytest.mark.parametrize("language", LONG)
def test_other_numbers_are_another_problem_however_long_the_text(language: str, one: str, other: str) -> None:
    assert clusters([f"{LONG[language]} {text} {LONG[language][::-1]}" for text in (one, other)]) == [0, 1]
    assert clusters([one, other]) == [0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [("2 + 3 = ?\n5", "2+3=?\n5"), ("７个（新）", "7个(新)"), ("10:30, 1,000", "10:30 1,000"), ("x − 5", "X - 5")],
)
def test_one_sum_in_two_spellings_is_a_copy(one: str, other: str) -> None:
    assert clusters([one, other]) == [0, 0]


def test_short_texts_are_compared_whole() -> None:
    assert clusters(["ha ha", "ha", "Ha, ha!", "", "", "???", "!!!", "😀", "😀", "😂"]) == [
        0,
        1,
        0,
        3,
        3,
        5,
        6,
        7,
        7,
        9,
    ]


@pytest.mark.parametrize("language", LONG)
def test_one_word_changed_or_a_sentence_added_is_a_copy_and_other_words_are_not(language: str) -> None:
    make, between = {"en": (words, " "), "zh": (han, "")}[language]
    text = make(120, 2)
    changed = [*text[:60], make(1, 3)[0], *text[61:]]
    added = [*text, *make(15, 4)]
    others = [new if i % 8 == 0 else old for i, (old, new) in enumerate(zip(text, make(120, 5), strict=True))]
    assert clusters([between.join(tokens) for tokens in (text, changed, added, others)]) == [0, 0, 0, 3]


# Texts of few words from a small vocabulary, often one changed from another.
pieces = st.sampled_from([*WORDS[:12], *HAN[:12], "7", "8", "+", "二", "two", "。", "(", "😀"])
base = st.lists(pieces, min_size=0, max_size=40)
families = st.lists(
    st.tuples(base, st.lists(st.tuples(st.integers(0, 40), pieces), max_size=3)).map(
        lambda made: [
            " ".join(made[0]),
            *(" ".join([*made[0][:place], piece, *made[0][place + 1 :]]) for place, piece in made[1]),
        ]
    ),
    min_size=1,
    max_size=5,
).map(lambda groups: [text for group in groups for text in group])
thresholds = st.sampled_from([0.3, 0.6, 0.8, 0.95, 1.0]).map(lambda threshold: Near(threshold=threshold))


@quick
@given(families, thresholds)
@example([], Near())
@example([""], Near())
def test_a_cluster_is_named_by_its_smallest_index_and_holds_all_equal_texts(texts: list[str], near: Near) -> None:
    found = clusters(texts, near)
    assert [found[first] for first in found] == found
    assert all(first <= index for index, first in enumerate(found))
    for one, other in itertools.combinations(range(len(texts)), 2):
        if texts[one] == texts[other]:
            assert found[one] == found[other]


@quick
@given(families, thresholds)
def test_texts_of_a_cluster_are_connected_by_pairs_that_are_alike(texts: list[str], near: Near) -> None:
    grams = n_grams(pl.Series(texts, dtype=pl.String), near.tokens)
    left, right = (np.array(side) for side in np.triu_indices(len(texts), 1))
    alike = share_enough(grams, left, right, near.threshold)
    reach = {(i, i) for i in range(len(texts))} | {
        pair for one, other in zip(left[alike], right[alike], strict=True) for pair in ((one, other), (other, one))
    }
    for middle in range(len(texts)):
        reach |= {(a, b) for a in range(len(texts)) for b in range(len(texts)) if {(a, middle), (middle, b)} <= reach}
    found = clusters(texts, near)
    assert all((index, first) in reach for index, first in enumerate(found))
    assert all(grams.numbers[index] == grams.numbers[first] for index, first in enumerate(found))


@quick
@given(families, thresholds)
def test_those_that_stay_have_no_near_copies_among_them(texts: list[str], near: Near) -> None:
    found = clusters(texts, near)
    kept = [text for index, text in enumerate(texts) if found[index] == index]
    assert clusters(kept, near) == list(range(len(kept)))


@quick
@given(families, st.integers(1, 8))
def test_grams_of_parts_are_the_grams_of_the_whole(texts: list[str], n: int) -> None:
    whole = n_grams(pl.Series(texts, dtype=pl.String), n)
    parts = joined([n_grams(pl.Series([text]), n) for text in texts])
    assert np.array_equal(whole.offsets, parts.offsets)
    assert np.array_equal(whole.hashes, parts.hashes)
    assert np.array_equal(whole.numbers, parts.numbers)


@pytest.mark.parametrize("block", [1, 100, 1 << 30])
def test_blocks_do_not_change_the_result(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, _ = planted(300)
    expected = clusters(texts)
    monkeypatch.setattr(module, "_BLOCK", block)
    assert clusters(texts) == expected


plain = st.lists(st.sampled_from([*WORDS[:8], *"小船离开码头"]), min_size=1, max_size=25).map(" ".join)


@quick
@given(plain, plain, st.integers(1, 6), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
def test_similarity_is_that_of_plain_sets(one: str, other: str, n: int, threshold: float) -> None:
    for first, second in ((one, other), (one, f"{one} {other}"), (one, one)):
        grams = n_grams(pl.Series([first, second]), n)
        alike = share_enough(grams, np.array([0]), np.array([1]), threshold)
        assert alike.tolist() == [similarity(first, second, n) >= threshold]


def planted(count: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts in both languages, every third a changed copy of one before, and which are alike by the threshold."""
    draw = random.Random(7)
    texts: list[str] = []
    alike: list[tuple[int, int]] = []
    for number in range(count):
        make, between = ((words, " "), (han, ""))[number % 2]
        if number > 20 and draw.random() < 0.35:
            origin = draw.randrange(number % 2, number, 2)
            tokens = re.findall(r"[a-z]+|[\u4e00-\u9fff]", texts[origin])
            for _ in range(draw.randint(1, 4)):
                tokens[draw.randrange(len(tokens))] = make(1, draw.randrange(10**6))[0]
            texts.append(between.join(tokens))
            if similarity(texts[origin], texts[number]) >= 0.8:
                alike.append((origin, number))
        else:
            texts.append(between.join(make(draw.randint(60, 150), number)))
    return texts, alike


def test_planted_copies_are_found_and_nothing_else() -> None:
    texts, alike = planted(1500)
    found = clusters(texts)
    hits = [pair for pair in alike if found[pair[0]] == found[pair[1]]]
    assert len(hits) >= 0.99 * len(alike) > 100
    for index, first in enumerate(found):
        if index != first:
            others = (other for other in range(len(texts)) if found[other] == first and other != index)
            assert any(similarity(texts[index], texts[other]) >= 0.8 for other in others)


def test_a_crowd_with_one_beginning_does_not_hide_its_copies() -> None:
    shared = words(60, 11)
    crowd = [" ".join([*shared, *words(14, 100 + number)]) for number in range(600)]
    copies = [" ".join([*crowd[number].split()[:-1], "zzz"]) for number in range(0, 600, 30)]
    found = clusters([*crowd, *copies])
    assert found[:600] == list(range(600))
    assert found[600:] == list(range(0, 600, 30))


def test_none_that_stays_of_a_crowd_is_a_copy_of_another() -> None:
    shared = words(60, 12)
    crowd = [" ".join([*shared, *words(8, 100 + number, vocabulary=30)]) for number in range(500)]
    found = clusters(crowd)
    kept = [text for index, text in enumerate(crowd) if found[index] == index]
    assert 10 < len(kept) < len(crowd) / 2
    assert clusters(kept) == list(range(len(kept)))


@given(st.floats(0.05, 1), st.integers(1, 512))
def test_bands_find_nearly_all_pairs_at_the_threshold(threshold: float, permutations: int) -> None:
    rows = rows_a_band(threshold, permutations)
    assert 1 <= rows <= permutations
    if rows > 1:
        assert 1 - (1 - threshold**rows) ** (permutations // rows) >= 0.99


def test_hashes_stay_the_same() -> None:
    """Other hashes would give other clusters for the same data."""
    grams = n_grams(pl.Series(["Rain falls on 2 boats tonight", "雨落在两条船上"]), 5)
    assert grams.hashes.tolist() == [1610083948, 4233276971, 794420801, 1097640125, 3630493371]
    assert grams.numbers.tolist() == [18128579709034668820, 16616674722213735467]
