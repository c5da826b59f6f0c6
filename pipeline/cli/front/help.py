"""The help texts, from docstrings and configuration files alone: neither verbs nor Hydra are imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.front.flags import HELP
from pipeline.cli.front.groups import default_options, find_groups, first_comment, top_level_blocks
from pipeline.cli.front.program import Program, Verb

_SYNTAX = """\
KEY=VALUE sets what is there, +KEY=VALUE adds a key, ++KEY=VALUE does either, ~KEY takes it away; GROUP=OPTION
takes another file of a group. Lists are [a, b], dicts {a: 1, b: x}; any other text (spaces, commas, brackets,
中文) needs no quotes beyond the shell's. Of Hydra's own settings only hydra.verbose=true can be given."""


def overview(program: Program) -> str:
    """The verbs and two examples."""
    width = max(len(name) for name in [*program.verbs, "completion"])
    verbs = [f"  {name:{width}}  {verb.summary}" for name, verb in program.verbs.items()]
    first, *_, last = program.verbs
    lines = [
        f"usage: {program.name} VERB [KEY=VALUE …] [FLAGS]",
        "",
        program.summary,
        "",
        *verbs,
        f'  {"completion":{width}}  for the shell: eval "$({program.name} completion bash)"',
        "",
        "examples:",
        f"  {_example(program, first)}",
        f"  {program.name} {last} --help",
    ]
    return "\n".join(lines)


def _example(program: Program, name: str) -> str:
    """The command in the first line of the verb's primary config, less its explanation."""
    file = program.conf / f"{program.verbs[name].config}.yaml"
    command = first_comment(file) if file.is_file() else ""
    _, found, arguments = command.partition(f" {name} ")
    return f"{program.name} {name} {arguments.partition('  ')[0] if found else '--cfg job'}"


def verb_help(program: Program, name: str, config_dir: str | None) -> str:
    """The docstring of the verb, the groups with their options, its own settings and the flags."""
    verb = program.verbs[name]
    primary = program.conf / f"{verb.config}.yaml"
    chosen = default_options(primary) if primary.is_file() else {}
    groups = find_groups([program.conf] if config_dir is None else [program.conf, Path(config_dir)])
    used = {group: groups[group] for group in chosen if group in groups}
    parts = [
        f"usage: {program.name} {name} [KEY=VALUE …] [FLAGS]",
        docstring(verb) or verb.summary,
        _groups_text(used, chosen),
        _settings_text(primary),
        f"flags:\n{HELP}",
        _SYNTAX,
    ]
    if others := [group for group in groups if group not in used]:
        parts.insert(3, f"other groups: {', '.join(others)}")
    return "\n\n".join(part for part in parts if part)


def docstring(verb: Verb) -> str:
    """The docstring of the verb's module, read without running it."""
    import ast

    spec = find_spec(verb.module)
    if spec is None or spec.origin is None:
        return ""
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) or ""


def _groups_text(groups: Mapping[str, Mapping[str, Path]], chosen: Mapping[str, tuple[str, str]]) -> str:
    if not groups:
        return ""
    width = max(len(option) for options in groups.values() for option in options)
    lines = ["groups (GROUP=OPTION; * is the default):"]
    for group, options in groups.items():
        default, comment = chosen[group]
        lines.append(f"  {group}: {comment}" if comment else f"  {group}")
        for option, file in options.items():
            star = "*" if option == default else " "
            lines.append(f"  {star} {option:{width}}  {first_comment(file)}".rstrip())
    return "\n".join(lines)


def _settings_text(primary: Path) -> str:
    blocks = top_level_blocks(primary) if primary.is_file() else {}
    own = [text for key, text in blocks.items() if key not in ("defaults", "hydra")]
    lines = ["  " + line for text in own for line in text.splitlines()]
    return "\n".join(["settings (KEY=VALUE), with their defaults:", *lines]) if lines else ""


def version(program: Program) -> str:
    """`poolmix 1.0`, as installed."""
    from importlib import metadata

    try:
        return f"poolmix {metadata.version('poolmix')}"
    except metadata.PackageNotFoundError:
        return f"poolmix, not installed, at {program.conf.parent}"
