"""The help texts, from docstrings and configuration files alone: neither verbs nor Hydra are imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.front.flags import HELP
from pipeline.cli.front.groups import bases, default_options, find_groups, first_comment, top_level_blocks
from pipeline.cli.front.program import Program, Verb

_WIDTH = 100  # columns
_SYNTAX = """\
KEY=VALUE sets what is there, +KEY=VALUE adds a key, ++KEY=VALUE does either, ~KEY takes it away.
Lists are [a, b], dicts {a: 1, b: x}; any other text (spaces, commas, brackets, 中文) needs no
quotes beyond the shell's. hydra.verbose=true logs more."""


def overview(program: Program) -> str:
    """The verbs, and how to go on."""
    width = max(len(name) for name in [*program.verbs, "completion"])
    verbs = [f"  {name:{width}}  {verb.summary}" for name, verb in program.verbs.items()]
    first = next(iter(program.verbs))
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
        f"  {program.name} {first} --help",
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
    files = bases(program.conf / f"{verb.config}.yaml")
    chosen = {group: default for file in reversed(files) for group, default in default_options(file).items()}
    groups = find_groups([program.conf] if config_dir is None else [program.conf, Path(config_dir)])
    used = {group: groups[group] for group in chosen if group in groups}
    brought = {
        setting: (group, groups[group])
        for setting, place in program.implied.items()
        if (group := place.partition("@")[0]) in groups and setting.partition(".")[0] in used
    }
    parts = [
        f"usage: {program.name} {name} [KEY=VALUE …] [FLAGS]",
        docstring(verb) or verb.summary,
        _groups_text(used, chosen),
        *(_brought_text(setting, group, options) for setting, (group, options) in brought.items()),
        _settings_text(files),
        f"flags:\n{HELP}",
        _SYNTAX,
    ]
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
        lines += _option_lines(options, width, default)
    return "\n".join(lines)


def _brought_text(setting: str, group: str, options: Mapping[str, Path]) -> str:
    lines = _option_lines(options, max(map(len, options)), "")
    return "\n".join([f"{group} (+{setting}.NAME=VALUE adds one):", *lines])


def _option_lines(options: Mapping[str, Path], width: int, default: str) -> Iterator[str]:
    for option, file in options.items():
        start = f"  {'*' if option == default else ' '} {option:{width}}  "
        yield from _folded(start, first_comment(file), " " * len(start))


def _settings_text(files: Sequence[Path]) -> str:
    """The settings of the primary config, then those of each that it builds on."""
    lines: list[str] = []
    seen = {"defaults", "hydra"}
    for file in files:
        blocks = top_level_blocks(file)
        own = [text for key, text in blocks.items() if key not in seen]
        seen.update(blocks)
        if own:
            title = "settings (KEY=VALUE), with their defaults:" if not lines else f"and those of {file.stem}:"
            lines += ["", title] if lines else [title]
            lines += [part for text in own for line in text.splitlines() for part in _setting_lines(f"  {line}")]
    return "\n".join(lines)


def _setting_lines(line: str) -> Iterator[str]:
    """One line of YAML, a long comment behind it folded."""
    value, sign, comment = line.partition(" # ")
    start = f"{value}{sign}" if sign else line
    return _folded(start, comment, " " * (len(value) + 1) + "# ")


def _folded(start: str, text: str, indent: str) -> Iterator[str]:
    """`start` and `text`, on more lines below `indent` where they are too long for one."""
    from textwrap import wrap

    first, *others = wrap(text, max(_WIDTH - len(start), 40)) or [""]
    yield f"{start}{first}".rstrip()
    yield from (f"{indent}{line}" for line in others)


def version(program: Program) -> str:
    """`poolmix 1.0`, as installed."""
    from importlib import metadata

    try:
        return f"poolmix {metadata.version('poolmix')}"
    except metadata.PackageNotFoundError:
        return f"poolmix, not installed, at {program.conf.parent}"
