"""OpenAssistant's trees: the best-ranked path."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def node(text: str, role: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": role, "replies": list(replies), **more}


def path(adapt: Any, tree: Any) -> Any:
    [found] = adapt("tree", [{"message_tree_id": "t", "prompt": tree}])
    return found if isinstance(found, str) else [turn["content"] for turn in found["turns"]]


@pytest.mark.parametrize(
    ("ranks", "best"),
    [
        ([1, 0, 2], 1),
        ([None, 3], 1),
        ([None, None], 0),
        ([2, 1, 1], 1),
        ([0.0, 0], 0),
        ([5], 0),
    ],
)
def test_the_lowest_rank_is_taken_then_the_first(adapt: Any, ranks: list[Any], best: int) -> None:
    replies = [node(f"a{k}", "assistant", rank=rank) for k, rank in enumerate(ranks)]
    assert path(adapt, node("q", "prompter", *replies)) == ["q", f"a{best}"]


def test_the_path_ends_with_the_assistant(adapt: Any) -> None:
    follow = node("q2", "prompter", node("a2", "assistant", node("thanks", "prompter")))
    tree = node("q", "prompter", node("bad", "assistant", follow, rank=1), node("a", "assistant", follow, rank=0))
    [found] = adapt("tree", [{"prompt": tree}])
    assert [(turn["role"], turn["content"]) for turn in found["turns"]] == [
        ("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2"),
    ]  # fmt: skip
    assert path(adapt, node("q", "prompter")) == "ends_with_user"


def test_deleted_replies_are_not_taken(adapt: Any) -> None:
    replies = [node("gone", "assistant", rank=0, deleted=True), node("a", "assistant", rank=1, deleted=False)]
    assert path(adapt, node("q", "prompter", *replies)) == ["q", "a"]


@pytest.mark.parametrize(
    ("lang", "tags"), [("en", ["en"]), ("zh", ["zh"]), ("zh-CN", ["zh"]), ("ru", None), (None, None)]
)
def test_the_language_is_a_tag_where_it_is_one(adapt: Any, lang: str | None, tags: list[str] | None) -> None:
    tree = node("q", "prompter", node("a", "assistant", lang="de"), lang=lang)
    [found] = adapt("tree", [{"message_tree_id": "t", "prompt": tree}])
    assert found.get("tags") == tags
    assert json.loads(found["meta"]) == ({"lang": lang} if lang else {}) | {"message_tree_id": "t"}


@pytest.mark.parametrize(
    "bad",
    ["text", 5, [], {"text": "q"}, {"role": "prompter"}, node("q", "prompter", 5), node("q", "prompter", rank="x")],
)
def test_a_bad_shape_is_refused_alone(adapt: Any, bad: Any) -> None:
    good = {"prompt": node("q", "prompter", node("a", "assistant"))}
    found = adapt("tree", [good, {"prompt": bad}, {"prompt": None}, good])
    assert found[1:3] == ["wrong_type", "missing_column"]
    assert found[0] == found[3]
    assert path(adapt, node("q", "wizard", node("a", "assistant"))) == "bad_role"


def test_a_tree_deeper_than_can_be_read_is_refused(adapt: Any) -> None:
    deep = '{"text":"q","role":"prompter","replies":[' * 5000 + "]}" * 5000
    [found] = adapt("tree", json.dumps({"prompt": deep}).encode())
    assert found == "too_deep"


trees = st.recursive(
    st.builds(dict, text=st.text("ab", min_size=1, max_size=2), rank=st.none() | st.integers(0, 3)),
    lambda inner: st.builds(
        dict, text=st.text("ab", min_size=1, max_size=2), rank=st.none() | st.integers(0, 3), replies=st.lists(inner)
    ),
    max_leaves=10,
)


def alternating(tree: dict[str, Any], role: str = "prompter") -> dict[str, Any]:
    other = "assistant" if role == "prompter" else "prompter"
    return {**tree, "role": role, "replies": [alternating(reply, other) for reply in tree.get("replies", [])]}


@settings(max_examples=60)
@given(trees)
def test_every_step_of_the_path_is_a_best_reply(adapt: Any, tree: dict[str, Any]) -> None:
    said, here = path(adapt, alternating(tree)), tree
    if isinstance(said, str):
        assert not tree.get("replies")
        return
    assert len(said) % 2 == 0
    for text in said:
        assert text == here["text"]
        ranks = [(reply["rank"] is None, reply["rank"]) for reply in here.get("replies", [])]
        if ranks:
            here = here["replies"][ranks.index(min(ranks, key=lambda rank: (rank[0], rank[1] or 0)))]
