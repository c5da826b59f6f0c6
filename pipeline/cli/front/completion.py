"""Tab completion for bash: verbs and flags by us, overrides by Hydra."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence

from pipeline.cli.front.flags import NAMES
from pipeline.cli.front.groups import find_groups
from pipeline.cli.front.program import Program
from pipeline.errors import ConfigError

# Bash cuts words at `=` and `:` and expects only what follows the last of them.
_BASH = """\
_poolmix_complete() {
    local -a call=("$1")
    local line="${COMP_LINE:0:COMP_POINT}" word head found
    if [[ "${1##*/}" == python* ]]; then
        [[ "${COMP_WORDS[1]}" == -m && " $_POOLMIX_MODULES " == *" ${COMP_WORDS[2]} "* ]] || return
        call=("$1" -m "${COMP_WORDS[2]}")
    fi
    word="${line##* }"
    head=""
    [[ "$word" == *[=:]* && "$COMP_WORDBREAKS" == *=* ]] && head="${word%"${word##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("${found#"$head"}")
    done < <(COMP_LINE="$line" "${call[@]}" completion query 2> /dev/null)
}
"""


def completion(program: Program, arguments: Sequence[str]) -> int:
    """`completion bash` prints what the shell is to evaluate; `completion query` answers for $COMP_LINE."""
    if list(arguments) == ["bash"]:
        print(_script(program))
    elif list(arguments) == ["query"]:
        for found in candidates(program, os.environ.get("COMP_LINE", "")):  # none: bash offers file names
            print(found)
    else:
        fix = f'eval "$({program.name} completion bash)"'
        raise ConfigError("completion", "the shell it is for must be named; have: bash", fix)
    return 0


def _script(program: Program) -> str:
    module = f'_POOLMIX_MODULES="$_POOLMIX_MODULES {program.module}"\n'
    names = f"complete -o nospace -o default -F _poolmix_complete {program.script}\n" if program.script else ""
    # A completion that the user has for python already is left alone.
    python = "for name in python python3; do\n    complete -p $name &> /dev/null || "
    return f"{_BASH}{module}{names}{python}complete -o nospace -o default -F _poolmix_complete $name\ndone"


def candidates(program: Program, line: str) -> list[str]:
    """What the last word of the line may become; the line is cut at the cursor."""
    words = line.split()
    word = "" if line[-1:].isspace() else words.pop() if words else ""
    before = words[3:] if words[1:2] == ["-m"] else words[1:]
    if not before:
        names = [*program.verbs, "completion", "--help", "--version"]
        return [f"{name} " for name in names if name.startswith(word)]
    if before[0] == "completion":
        return [name for name in ("bash",) if name.startswith(word)]
    if before[0] not in program.verbs:
        return []
    if word.startswith("-"):
        return [f"{name} " for name in NAMES if name.startswith(word)]
    for setting, place in program.implied.items():
        if word.startswith(f"+{setting}."):
            options = find_groups([program.conf]).get(place.partition("@")[0], {})
            return [text for name in options if (text := f"+{setting}.{name}=").startswith(word)]
    return _from_hydra(program, before[0], before[1:], word)


def _from_hydra(program: Program, verb: str, before: Sequence[str], word: str) -> list[str]:
    """Hydra's own answer to the line without the verb, and without what its parser may stumble over."""
    from pipeline.cli.front.compose import application, command_line

    def is_plain(text: str) -> bool:
        return re.fullmatch(r"[+~]{0,2}[\w./@-]+=[\w./:-]+", text, re.ASCII) is not None

    overrides = [text for text in before if is_plain(text) and not text.startswith("hydra")]
    answer = io.StringIO()
    os.environ["COMP_LINE"] = " ".join(["poolmix", *overrides, word])
    with command_line(["--shell-completion", "query=bash"]), contextlib.redirect_stdout(answer):
        application(program.conf, program.verbs[verb].config, print)()
    found = [text for text in answer.getvalue().split() if not text.lstrip("+~").startswith("hydra")]
    # `mi` should become `mix=` at once; who wants a key below it types the dot.
    return [text for text in found if text.startswith(word) and f"{text[:-1]}=" not in {*found} - {text}]
