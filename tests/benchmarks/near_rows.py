"""Conversations with planted near copies in English and Chinese: the same rows for the same number, on every machine.

A row is a few sentences with names, things, places and numbers filled in. One in five is a copy of an earlier row
(punctuation, case or spaces changed; some words changed; a sentence added or left out), one in ten is *not* a copy
although it looks like one: the same sentences with another number, or with other names, things and places.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_ENGLISH = {
    "name": "Ann Ben Carla Dmitri Elena Farid Grace Hugo Ines Jonas Kira Liam Mona Nils Olga Pablo Rosa Sven Tara Umar",
    "thing": "apples pencils lanterns marbles tickets ropes cups stones stickers candles bricks shells ribbons coins "
    "baskets buttons kites melons spoons blankets puzzles feathers mirrors seeds bottles stamps",
    "place": "market library harbour station bakery garden museum valley workshop village theatre school island square "
    "farm kitchen hotel bridge temple meadow",
    "mark": "quickly gladly slowly quietly early often rarely together alone somehow carefully proudly",
    "look": "red old shiny narrow heavy famous quiet broken wooden striped tiny golden frozen round dusty",
    "act": "carries sells paints counts finds borrows hides collects repairs measures wraps cleans",
}
_CHINESE = {
    "name": "小明 小红 王老师 李阿姨 张伟 陈医生 刘洋 赵叔叔 周婷 吴奶奶 孙工程师 郑同学 冯师傅 高经理 林姐姐",
    "thing": "苹果 铅笔 灯笼 弹珠 门票 绳子 杯子 石头 贴纸 蜡烛 砖块 贝壳 丝带 硬币 篮子 纽扣 风筝 西瓜 勺子 毯子",
    "place": "市场 图书馆 港口 车站 面包店 花园 博物馆 山谷 车间 村庄 剧院 学校 小岛 广场 农场 厨房 酒店 大桥",
    "mark": "很快地 高兴地 慢慢地 悄悄地 提前 经常 很少 仔细地 自豪地 认真地",
    "look": "红色的 古老的 闪亮的 狭窄的 沉重的 著名的 安静的 破旧的 木制的 条纹的 小巧的 金色的 圆形的",
    "act": "搬运 出售 粉刷 清点 寻找 借来 收集 修理 测量 包装 清洗",
}
_ENGLISH_FRAMES = (
    "{name} {mark} {act} {n} {look} {thing} near the {place}",
    "in the {look} {place} there are {n} {thing}, and {name} {act} most of them {mark}",
    "{name} asks {name} how many {thing} fit into the {look} box that stands behind the {place}",
    "when the {place} closes, {name} {act} the {look} {thing} and walks {mark} to the {place}",
    "every {thing} seller at the {place} knows that {name} pays {n} coins for {look} {thing}",
    "because the {place} is {look}, nobody {act} {thing} there, says {name} {mark}",
    "please explain why {name} {act} {n} {thing} before the {look} {place} opens",
    "the answer depends on how {mark} {name} {act} the {thing} from the {look} {place}",
    "first {name} brings {n} {thing} to the {place}, then {name} {act} another {n} of them",
    "it is {look} and {look}, yet {name} keeps {thing} from the {place} {mark}",
    "so {name} {act} what is left, and the {place} has {n} {look} {thing} in the end",
    "nobody at the {place} remembers who {mark} {act} the {look} {thing} of {name}",
)
_CHINESE_FRAMES = (
    "{name}{mark}在{place}附近{act}了{n}件{look}{thing}",
    "在{look}{place}里有{n}个{thing}，{name}{mark}{act}其中的大部分",
    "{name}问{name}，{place}后面那只{look}箱子能装下多少{thing}",
    "{place}关门以后，{name}{act}{look}{thing}，然后{mark}走到{place}",
    "{place}卖{thing}的人都知道{name}愿意为{look}{thing}付{n}元",
    "因为{place}是{look}，所以没有人在那里{act}{thing}，{name}{mark}说",
    "请解释为什么{name}要在{look}{place}开门之前{act}{n}个{thing}",
    "答案取决于{name}怎样{mark}{act}来自{look}{place}的{thing}",
    "首先{name}把{n}个{thing}带到{place}，接着{name}又{act}另外{n}个",
    "天气又{look}又{look}，可是{name}{mark}保管着{place}的{thing}",
    "于是{name}{act}剩下的东西，最后{place}还有{n}个{look}{thing}",
    "{place}没有人记得是谁{mark}{act}了{name}的{look}{thing}",
)
_LISTS = {"en": _ENGLISH, "zh": _CHINESE}
_FRAMES = {"en": _ENGLISH_FRAMES, "zh": _CHINESE_FRAMES}
_STOP = {"en": ". ", "zh": "。"}


@dataclass(frozen=True)
class Row:
    """A text, its language, the row that it is like (its own number where it is new), and how: `new`, `copy`,
    `number` or `words`; `similarity` is the Jaccard similarity with that row, counted by Python's own sets."""

    text: str
    language: str
    origin: int
    kind: str
    similarity: float


def make_rows(count: int, seed: int = 1) -> list[Row]:
    """So many rows, every other one Chinese."""
    draw = random.Random(seed)
    rows: list[Row] = []
    written: dict[int, tuple[list[int], list[list[str]]]] = {}
    for number in range(count):
        language = ("en", "zh")[number % 2]
        chance = draw.random()
        if chance < 0.3 and number > 20:
            origin = draw.choice(range(number % 2, number, 2))
            origin = rows[origin].origin
            frames, fillings = written[origin]
            kind = "copy" if chance < 0.2 else "number" if chance < 0.25 else "words"
            text = _changed(draw, language, kind, rows[origin].text, frames, fillings)
            similarity = _similarity(text, rows[origin].text)
        else:
            origin, kind, similarity = number, "new", 1.0
            frames = [draw.randrange(len(_FRAMES[language])) for _ in range(draw.randint(5, 11))]
            fillings = [_filling(draw, language, frame) for frame in frames]
            written[number] = frames, fillings
            text = _said(language, frames, fillings)
        rows.append(Row(text, language, origin, kind, similarity))
    return rows


def _filling(draw: random.Random, language: str, frame: int) -> list[str]:
    slots = re.findall(r"\{(\w+)\}", _FRAMES[language][frame])
    return [str(draw.randint(2, 999)) if slot == "n" else draw.choice(_LISTS[language][slot].split()) for slot in slots]


def _said(language: str, frames: list[int], fillings: list[list[str]]) -> str:
    """The sentences one after the other, the last ones as the answer."""
    sentences: list[str] = []
    for frame, filling in zip(frames, fillings, strict=True):
        words = iter(filling)
        sentence = re.sub(r"\{\w+\}", lambda _: next(words), _FRAMES[language][frame])  # noqa: B023
        sentences.append(sentence[0].upper() + sentence[1:])
    half, stop = len(sentences) // 2, _STOP[language]
    return "\n".join((stop.join(part) + stop).strip() for part in (sentences[:half], sentences[half:]))


def _changed(
    draw: random.Random, language: str, kind: str, text: str, frames: list[int], fillings: list[list[str]]
) -> str:
    if kind == "words":
        numbers = [[word if word.isdecimal() else "" for word in filling] for filling in fillings]
        others = [_filling(draw, language, frame) for frame in frames]
        kept = [[a or b for a, b in zip(*pair, strict=True)] for pair in zip(numbers, others, strict=True)]
        return _said(language, frames, kept)
    if kind == "number":
        found = list(re.finditer(r"\d+", text))
        if found:
            place = draw.choice(found)
            return f"{text[: place.start()]}{draw.randint(1000, 10**9)}{text[place.end() :]}"
        return f"{text} {draw.randint(1000, 10**9)}"
    how = draw.randrange(4)
    if how == 0:
        return text.replace(",", " ").replace("，", "").replace(". ", "! ").replace("。", "！").upper()
    if how == 1:
        free = [i for i, frame in enumerate(frames) if "{n}" not in _FRAMES[language][frame]]
        frame = draw.choice([i for i, words in enumerate(_FRAMES[language]) if "{n}" not in words])
        if draw.random() < 0.5 or not free or len(frames) < 4:
            return _said(language, [*frames, frame], [*fillings, _filling(draw, language, frame)])
        gone = draw.choice(free)
        return _said(language, frames[:gone] + frames[gone + 1 :], fillings[:gone] + fillings[gone + 1 :])
    changed = [list(filling) for filling in fillings]
    for _ in range(draw.randint(1, 3) if how == 2 else draw.randint(1, 5)):
        sentence = draw.randrange(len(frames))
        slots = re.findall(r"\{(\w+)\}", _FRAMES[language][frames[sentence]])
        slot = draw.choice([place for place, name in enumerate(slots) if name != "n"])
        changed[sentence][slot] = draw.choice(_LISTS[language][slots[slot]].split())
    return _said(language, frames, changed)


def _similarity(one: str, other: str) -> float:
    first, second = _grams(one), _grams(other)
    return len(first & second) / len(first | second)


def _grams(text: str) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\d+|[a-z]+|[\u4e00-\u9fff]|-", text.lower())
    return {tuple(tokens[i : i + 5]) for i in range(max(len(tokens) - 4, 1))}
