"""The project's chat templates: the text of the originals, and in it the targets, block by block.

Where a template is meant to differ from its original, or an earlier turn from what it was when it was the last, that
is written down here, in `REFUSES` and `TURNS_CHANGE`.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import meta, nodes
from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[3] / "conf" / "template"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
# What opens an assistant turn, and what ends it.
HEADERS = {
    "alpaca": ("\n\n### Response:\n", "<|endoftext|>"),
    "chatml": ("<|im_start|>assistant\n", "<|im_end|>"),
    "gemma3": ("<start_of_turn>model\n", "<end_of_turn>"),
    "llama3": ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
    "qwen2_5": ("<|im_start|>assistant\n", "<|im_end|>"),
    "qwen3": ("<|im_start|>assistant\n", "<|im_end|>"),
    "qwen3_instruct_2507": ("<|im_start|>assistant\n", "<|im_end|>"),
    "smollm2": ("<|im_start|>assistant\n", "<|im_end|>"),
}
# What follows the end of a turn, where it is not a line break: that of a later turn, if there is one.
FOLLOWS = {"alpaca": "\n\n### Instruction:\n", "llama3": "<|start_header_id|>"}
EMPTY_THINK = "<think>\n\n</think>\n\n"
TRIMS = {"gemma3", "llama3"}
# Template (the last word) → the file of TRL that has its original.
TRL = {
    "Llama 3.1's llama3": "llama3_1",
    "gemma3": "gemma3",
    "llama3": "llama3_2",
    "qwen2_5": "qwen2_5",
    "qwen3": "qwen3",
    "qwen3_instruct_2507": "qwen3_instruct_2507",
}
SMOLLM2 = (  # the chat_template of SmolLM2-135M-Instruct's tokenizer
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_ORIGINAL = [*sorted(TRL), "smollm2", "the tokenizer's qwen3"]
# Refusals of ours that the original does not share: it drops tools and calls in silence, or loses a turn.
REFUSES = {
    "gemma3": ["has no tools", "has no tool calls", "turns that alternate"],
    "llama3": ["writes tools into a user turn"],
    "smollm2": ["has no tools", "has no tool calls"],
}
# Templates in which a turn that is not the last may read otherwise than when it was: Qwen3 leaves out the reasoning of
# earlier turns, and its empty think block stands in the last turn alone.
TURNS_CHANGE = {"qwen3"}
Refusals = (jinja2.TemplateError, TypeError)


@dataclass
class Rendered:
    text: str
    blocks: list[tuple[int, int]]

    @property
    def targets(self) -> list[str]:
        return [self.text[start:end] for start, end in self.blocks]

    @property
    def turns(self) -> list[list[tuple[int, int]]]:
        return [self.blocks[at : at + 4] for at in range(0, len(self.blocks), 4)]

    @property
    def context(self) -> list[str]:
        """The text between the targets."""
        ends = [0, *(end for _, end in self.blocks)]
        starts = [*(start for start, _ in self.blocks), len(self.text)]
        return [self.text[end:start] for end, start in zip(ends, starts, strict=True)]


@cache
def variables(name: str) -> dict[str, Any]:
    """What the template is given by its YAML."""
    found = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return {key: value for key, value in found.items() if key not in ("name", "path") and value is not None}


def render(name: str, row: Row, prompt: bool = False, **more: Any) -> Rendered:
    texts, blocks = render_jinja_template(
        conversations=[row["messages"]],
        tools=row["tools"],
        chat_template=(FOLDER / f"{name}.jinja").read_text("utf-8"),
        return_assistant_tokens_mask=True,
        add_generation_prompt=prompt,
        **{**variables(name), **more},
    )
    return Rendered(texts[0], blocks[0])


def before(row: Row, at: int) -> Row:
    """The conversation up to a turn."""
    return {**row, "messages": row["messages"][:at]}


def ours(name: str) -> str:
    """The template that is compared with an original."""
    return name.rpartition(" ")[2]


@pytest.fixture
def original(request: pytest.FixtureRequest) -> Callable[..., str]:
    """original(name, row, prompt=…) → the text that the original gives; skips where the original is not here."""

    def find(name: str) -> str:
        if name == "smollm2":
            return SMOLLM2
        if name == "the tokenizer's qwen3":
            folder: Path = request.getfixturevalue("shared") / "qwen3_tokenizer"
            return json.loads((folder / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
        found = importlib.util.find_spec("trl")
        folders = list(found.submodule_search_locations or []) if found else []
        path = Path(folders[0]) / "chat_templates" / f"{TRL[name]}.jinja" if folders else None
        if path is None or not path.is_file():
            pytest.skip("trl, whose folder has the original, is not installed")
        return path.read_text("utf-8")

    def call(name: str, row: Row, prompt: bool = False, **more: Any) -> str:
        texts, _ = render_jinja_template(
            conversations=[row["messages"]],
            tools=row["tools"],
            chat_template=find(name),
            add_generation_prompt=prompt,
            **{**variables(ours(name)), **more},
        )
        return texts[0]

    return call


def attempt(make: Callable[..., Any], *args: Any, **more: Any) -> tuple[Any, str]:
    """What `make` returns, or None and why it refuses."""
    try:
        return make(*args, **more), ""
    except jinja2.TemplateSyntaxError:
        raise
    except Refusals as refusal:
        return None, f"{type(refusal).__name__}: {refusal}"


def taken(name: str, rows: dict[str, Row]) -> Iterator[tuple[Row, Rendered]]:
    """The conversations that a template takes, and what it makes of them."""
    for row in rows.values():
        rendered, _ = attempt(render, name, row)
        if rendered is not None:
            yield row, rendered


def assert_same_text(name: str, row: Row, original: Callable[..., str]) -> None:
    thinking = [{}, {"enable_thinking": True}, {"enable_thinking": False}] if "qwen3" in name else [{}]
    for more in ({"prompt": prompt, **think} for prompt in (False, True) for think in thinking):
        theirs, why = attempt(original, name, row, **more)
        found, refusal = attempt(render, ours(name), row, **more)
        if found is None:
            assert why or any(text in refusal for text in REFUSES.get(ours(name), [])), refusal
        else:
            assert found.text == theirs, why


def prompt_of(name: str, row: Row, original: Callable[..., str], **thinking: bool) -> str:
    """The generation prompt, from the original where there is one."""
    if name in WITH_ORIGINAL:
        return original(name, row, prompt=True, **thinking)
    return render(name, row, prompt=True, **thinking).text


def assert_follows_prompt(name: str, row: Row, rendered: Rendered, original: Callable[..., str]) -> None:
    thought, said = rendered.blocks[-4][0], rendered.blocks[-3][0]
    reasons = thought < said
    # Where nobody asks, Qwen3's last turn has no think block.
    thinks = reasons or not any(asks(message) for message in row["messages"])
    for think in [{}, {"enable_thinking": True}] if thinks else [{"enable_thinking": False}]:
        prompt = prompt_of(name, before(row, -1), original, **think)
        assert rendered.text[: thought if reasons else said] == prompt


def asks(message: Row) -> bool:
    text = message["content"]
    return message["role"] == "user" and not (text.startswith("<tool_response>") and text.endswith("</tool_response>"))


def has_reasoning(message: Row) -> bool:
    return "reasoning_content" in message or "</think>" in message["content"]


def assert_targets(name: str, row: Row, rendered: Rendered) -> None:
    messages = [message for message in row["messages"] if message["role"] == "assistant"]
    header, end = HEADERS[name]
    assert len(rendered.blocks) == 4 * len(messages)
    for message, turn in zip(messages, rendered.turns, strict=True):
        first, *_, last = turn
        assert all(ended == begins for (_, ended), (begins, _) in pairwise(turn))
        before, after = rendered.text[: first[0]], rendered.text[last[1] :]
        assert before.removesuffix(EMPTY_THINK if name == "qwen3" else "").endswith(header)
        assert after.startswith(FOLLOWS.get(name, "\n")) or (after == "" and name in FOLLOWS)
        reasoning, content, calls, ending = (rendered.text[start:stop] for start, stop in turn)
        assert ending == end
        assert bool(calls) == ("tool_calls" in message)
        if name == "qwen3":
            assert reasoning == "" or (reasoning.startswith("<think>\n") and reasoning.endswith("\n</think>\n\n"))
            assert reasoning != EMPTY_THINK
            given = message["content"]
            given = given if "reasoning_content" in message else given.rpartition("</think>")[2]
            # Beside a think block content has no line breaks before it.
            bare = reasoning != "" or before.endswith(header + EMPTY_THINK) or given != message["content"]
            assert content == (given.lstrip("\n") if bare else given)
        else:
            assert reasoning == ""
            lost = name == "llama3" and "tool_calls" in message
            assert content == ("" if lost else message["content"].strip() if name in TRIMS else message["content"])


def reworded(message: Row) -> Row:
    """The same turn with another text in whatever is a target."""
    if message["role"] != "assistant":
        return message
    other = message | ({} if has_reasoning(message) else {"content": "Something else."})
    if message.get("reasoning_content", "").strip():
        other["reasoning_content"] = "Other thoughts."
    if "tool_calls" in message:
        other["tool_calls"] = [{"name": "other", "arguments": {}}]
    return other


# Pieces of text that templates ask for, cut off, or might take for their own.
pieces = st.sampled_from(
    [
        *("", " ", "\n", "\n\n", "a", "Hello.", "你好", "👩‍👩‍👧", "☺️", '"', "\\", "{{name}}", "{%", "\u2028", "é\t"),
        *("<think>", "</think>", "<tool_response>", "</tool_response>", "<|im_end|>", "<|im_start|>", "<|eot_id|>"),
    ]
)
texts = st.lists(pieces, max_size=4).map("".join)
tools = [{"type": "function", "function": {"name": "f", "description": "天气 <b>", "parameters": {"type": "object"}}}]
calls = st.lists(
    st.fixed_dictionaries({"name": st.just("f"), "arguments": st.dictionaries(texts, texts, max_size=2)}).map(
        lambda function: {"id": "1", "type": "function", "function": function}
    ),
    min_size=1,
    max_size=3,
)
reasoning = {"reasoning_content": texts}
turns = {
    "system": st.fixed_dictionaries({"role": st.just("system"), "content": texts}),
    "user": st.fixed_dictionaries({"role": st.just("user"), "content": texts}),
    "assistant": st.fixed_dictionaries({"role": st.just("assistant"), "content": texts}, optional=reasoning),
    "call": st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": texts, "tool_calls": calls}, optional=reasoning
    ),
    "tool": st.fixed_dictionaries({"role": st.just("tool"), "content": texts}),
}
in_order = st.tuples(
    st.sampled_from([[], ["system"]]),
    st.lists(
        st.lists(st.sampled_from([["call", "tool"], ["call", "tool", "tool"]]), max_size=2).map(
            lambda loops: ["user", *(role for loop in loops for role in loop), "assistant"]
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 2),
).map(lambda parts: [*parts[0], *(role for part in parts[1] for role in part)][: -parts[2] or None] or ["user"])
in_disorder = st.lists(st.sampled_from(sorted(turns)), min_size=1, max_size=5)


def rows(orders: st.SearchStrategy[list[str]], may_call: bool = True) -> st.SearchStrategy[Row]:
    if not may_call:
        orders = orders.map(lambda order: [role for role in order if role not in ("call", "tool")] or ["user"])
    return st.fixed_dictionaries(
        {
            "messages": orders.flatmap(lambda order: st.tuples(*(turns[role] for role in order)).map(list)),
            "tools": st.sampled_from([None, tools]) if may_call else st.none(),
        }
    )


any_row = rows(in_order) | rows(in_order, may_call=False)
some = settings(max_examples=60)


@pytest.fixture(scope="session")
def samples(root: Path) -> dict[str, Row]:
    """The tool conversations of the samples, as they are after normalization."""
    found = {}
    for number, line in enumerate((root / "data_pools/samples/tools.jsonl").read_text("utf-8").splitlines()):
        try:
            row = json.loads(line)
            for message in row["messages"]:
                message["content"] = message.get("content") or ""
                for call in message.get("tool_calls") or []:
                    if isinstance(call["function"]["arguments"], str):
                        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        except (ValueError, KeyError, TypeError):
            continue  # bad on purpose
        found[str(number)] = {"messages": row["messages"], "tools": row.get("tools")}
    assert len(found) > 10
    return found


# Settings


@pytest.mark.parametrize("name", NAMES)
def test_a_template_reads_its_settings_and_nothing_else(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    config = yaml.safe_load(text)
    assert text.startswith("# ")
    assert (config["name"], config["path"]) == (name, None)
    template = (FOLDER / f"{name}.jinja").read_text("utf-8")
    tree = _compile_jinja_template(template).environment.parse(template)
    given = {"messages", "tools", "add_generation_prompt", "raise_exception", "namespace"}
    given |= {"meta"} if name == "alpaca" else set()
    given |= {variable.name for variable in tree.find_all(nodes.Name) if variable.ctx == "store"}
    assert meta.find_undeclared_variables(tree) - given == set(config) - {"name", "path"}


def test_every_template_has_a_header_and_every_yaml_a_template() -> None:
    assert sorted(HEADERS) == NAMES == sorted({path.stem for path in FOLDER.glob("*.yaml")} - {"none", "tokenizer"})


# The text of the originals


@pytest.mark.parametrize("name", WITH_ORIGINAL)
def test_conversations_read_as_in_the_original(
    name: str, conversations: dict[str, Row], original: Callable[..., str]
) -> None:
    for row in conversations.values():
        assert_same_text(name, row, original)
        assert_same_text(name, {**row, "tools": []}, original)


@pytest.mark.parametrize("name", WITH_ORIGINAL)
def test_sample_conversations_read_as_in_the_original(
    name: str, samples: dict[str, Row], original: Callable[..., str]
) -> None:
    for row in samples.values():
        assert_same_text(name, row, original)


@pytest.mark.parametrize("name", WITH_ORIGINAL)
def test_any_conversation_reads_as_in_the_original(name: str, original: Callable[..., str]) -> None:
    @some
    @given(any_row | rows(in_disorder))
    def check(row: Row) -> None:
        assert_same_text(name, row, original)

    check()


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3"])
def test_calls_may_come_without_their_wrapper(name: str, conversations: dict[str, Row]) -> None:
    for row, rendered in taken(name, conversations):
        bare = [
            message | {"tool_calls": [call["function"] for call in message["tool_calls"]]}
            if "tool_calls" in message
            else message
            for message in row["messages"]
        ]
        assert render(name, {**row, "messages": bare}) == rendered


# Where the targets begin


@pytest.mark.parametrize("name", NAMES)
def test_the_last_turn_follows_the_generation_prompt(
    name: str, conversations: dict[str, Row], samples: dict[str, Row], original: Callable[..., str]
) -> None:
    for row, rendered in taken(name, conversations | samples):
        if row["messages"][-1]["role"] == "assistant":
            assert_follows_prompt(name, row, rendered, original)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_turn_of_any_conversation_follows_the_generation_prompt(
    name: str, original: Callable[..., str]
) -> None:
    @some
    @given(any_row)
    def check(row: Row) -> None:
        for _, rendered in taken(name, {"": row} if row["messages"][-1]["role"] == "assistant" else {}):
            assert_follows_prompt(name, row, rendered, original)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_every_turn_follows_the_generation_prompt(
    name: str, conversations: dict[str, Row], original: Callable[..., str]
) -> None:
    """In qwen3 every turn but the last, in conversations without reasoning, follows the prompt that lets it think."""
    changed = 0
    for row, rendered in taken(name, conversations):
        at = [at for at, message in enumerate(row["messages"]) if message["role"] == "assistant"]
        for k, turn in zip(at, rendered.turns, strict=True):
            if name in TURNS_CHANGE and k == len(row["messages"]) - 1:
                continue
            same = rendered.text[: turn[0][0]] == prompt_of(name, before(row, k), original)
            changed += not same
            assert same or (name in TURNS_CHANGE and any(has_reasoning(message) for message in row["messages"]))
    assert (changed > 0) == (name in TURNS_CHANGE)


# The four targets of a turn


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_is_its_header_and_four_targets_without_a_gap(
    name: str, conversations: dict[str, Row], samples: dict[str, Row]
) -> None:
    for row, rendered in taken(name, conversations | samples):
        assert_targets(name, row, rendered)


@pytest.mark.parametrize("name", NAMES)
def test_a_turn_of_any_conversation_is_its_header_and_four_targets_without_a_gap(name: str) -> None:
    @some
    @given(any_row)
    def check(row: Row) -> None:
        for _, rendered in taken(name, {"": row}):
            assert_targets(name, row, rendered)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_the_context_does_not_depend_on_the_targets(name: str, conversations: dict[str, Row]) -> None:
    for row, rendered in taken(name, conversations):
        other = render(name, {**row, "messages": [reworded(message) for message in row["messages"]]})
        assert other.context == rendered.context


def test_qwen3_trains_on_reasoning_that_it_shows_and_on_no_empty_think_block(conversations: dict[str, Row]) -> None:
    shown = {
        "one turn": [""],
        "reasoning last": ["<think>\nOne and one.\n</think>\n\n"],
        "reasoning earlier": ["", ""],
        "reasoning everywhere": ["", "<think>\n两个二。\n</think>\n\n"],
        "reasoning of line breaks": [""],
        "reasoning in the content": ["", "<think>\nEasy, too.\n</think>\n\n"],
        "empty think block in the content": [""],
        "reasoning and a think block": ["<think>\nb\n</think>\n\n"],
        "tool response by hand": ["", ""],
        "reasoning and calls": [
            "<think>\nI must look.\n</think>\n\n",
            "",
            "",
            "<think>\nNow I know.\n</think>\n\n",
        ],
        "reasoning and a last call": ["<think>\nI must look.\n</think>\n\n"],
        "earlier reasoning and calls": ["", "", "", ""],
    }
    assert {name: render("qwen3", conversations[name]).targets[::4] for name in shown} == shown


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("qwen2_5", ['\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>']),
        ("qwen3", ['\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>']),
        (
            "qwen3_instruct_2507",
            ['\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'],
        ),
        ("llama3", ['{"name": "get_weather", "parameters": {"city": "Oslo"}}']),
    ],
)
def test_calls_are_a_target_of_their_own(name: str, targets: list[str], conversations: dict[str, Row]) -> None:
    assert render(name, conversations["text and a call"]).targets[2::4] == targets
    assert render(name, conversations["one call"]).targets[2::4] == [text.removeprefix("\n") for text in targets]


@pytest.mark.parametrize("name", ["chatml", "qwen2_5", "qwen3", "qwen3_instruct_2507", "smollm2"])
def test_the_mask_of_transformers_covers_the_targets(
    name: str, conversations: dict[str, Row], qwen3_tokenizer: Any
) -> None:
    """Left out: answers that begin with a line break, which shares a token with that of the header, and one that ends
    with a flag, of whose tokens transformers takes the first alone."""
    for row, rendered in taken(name, conversations):
        said = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        if any(text.startswith("\n") or text.endswith("🇳🇴") for text in said):
            continue
        tokens = qwen3_tokenizer.apply_chat_template(
            row["messages"],
            tools=row["tools"],
            chat_template=(FOLDER / f"{name}.jinja").read_text("utf-8"),
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
        )
        spans = zip(tokens["offset_mapping"], tokens["assistant_masks"], strict=True)
        covered = "".join(rendered.text[start:end] for (start, end), masked in spans if masked)
        assert covered == "".join(rendered.targets)


# Templates without an original, and refusals


def test_chatml_writes_roles_and_texts() -> None:
    row = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": " u "}], "tools": None}
    assert render("chatml", row).text == "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n u <|im_end|>\n"
    row["messages"].append({"role": "assistant", "content": "a\n"})
    assert render("chatml", row).text.endswith(" u <|im_end|>\n<|im_start|>assistant\na\n<|im_end|>\n")


ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
PARTS = {"instruction": "Name the capital.", "input": "Peru"}
QUESTION = {"role": "user", "content": "Name the capital.\n\nPeru"}
ANSWER = {"role": "assistant", "content": "Lima"}
SYSTEM = {"role": "system", "content": "Be brief."}
AS_TEXT = "### Instruction:\nName the capital.\n\nPeru\n\n### Response:\nLima<|endoftext|>"
IN_PARTS = "### Instruction:\nName the capital.\n\n### Input:\nPeru\n\n### Response:\nLima<|endoftext|>"


@pytest.mark.parametrize(
    ("messages", "given", "text"),
    [
        ([QUESTION, ANSWER], {}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER], {"meta": None}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER], {"meta": PARTS | {"input": ""}}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER], {"meta": {"input": "Peru"}}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER], {"meta": PARTS | {"input": 3}}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER], {"meta": PARTS}, ALPACA_WITH_INPUT + IN_PARTS),
        ([SYSTEM, QUESTION, ANSWER], {"meta": PARTS}, "Be brief.\n\n" + ALPACA_WITH_INPUT + IN_PARTS),
        ([SYSTEM | {"content": ""}, QUESTION, ANSWER], {}, ALPACA + AS_TEXT),
        ([QUESTION, ANSWER, QUESTION, ANSWER], {"meta": PARTS}, ALPACA + AS_TEXT + "\n\n" + AS_TEXT),
        ([QUESTION, ANSWER], {"eos_token": "</s>"}, ALPACA + AS_TEXT.replace("<|endoftext|>", "</s>")),
    ],
)
def test_alpaca_has_sections_for_instruction_and_input(messages: list[Row], given: Row, text: str) -> None:
    row = {"messages": messages, "tools": None}
    assert render("alpaca", row, **given).text == text
    prompt = render("alpaca", before(row, -1), prompt=True, **given).text
    assert prompt + "Lima" + (given | variables("alpaca") | given)["eos_token"] == text


def test_llama3_writes_a_fixed_day_where_none_is_set(conversations: dict[str, Row]) -> None:
    row = conversations["one turn"]
    assert render("llama3", row, date_string=None) == render("llama3", row)
    assert "Today Date: 1 Jan 2025\n" in render("llama3", row, date_string="1 Jan 2025").text


CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}
RESULT = {"role": "tool", "content": "x"}


@pytest.mark.parametrize(
    ("name", "messages", "given", "why"),
    [
        *((name, [QUESTION], {"tools": tools}, "no tools") for name in ["alpaca", "chatml", "gemma3", "smollm2"]),
        *((name, [QUESTION, CALL], {}, "no tool calls") for name in ["alpaca", "chatml", "gemma3", "smollm2"]),
        *((name, [QUESTION, RESULT], {}, "no tool calls") for name in ["alpaca", "chatml", "gemma3", "smollm2"]),
        ("alpaca", [QUESTION], {"eos_token": None}, "set template.eos_token"),
        ("alpaca", [QUESTION, ANSWER, SYSTEM], {}, "one system text, at the start"),
        ("gemma3", [QUESTION, QUESTION], {}, "alternate"),
        ("gemma3", [ANSWER], {}, "alternate"),
        ("gemma3", [QUESTION, SYSTEM], {}, "alternate"),
        ("llama3", [QUESTION, CALL | {"tool_calls": CALL["tool_calls"] * 2}], {}, "one tool call in a turn"),
        ("llama3", [SYSTEM, ANSWER], {"tools": tools}, "the first turn is none"),
        ("llama3", [SYSTEM], {"tools": tools}, "the first turn is none"),
    ],
)
def test_what_a_template_cannot_say_is_refused(name: str, messages: list[Row], given: Row, why: str) -> None:
    row = {"messages": messages, "tools": given.pop("tools", None)}
    with pytest.raises(jinja2.TemplateError, match=why):
        render(name, row, **given)
