"""Write a bundle's validation rows with an answer as tasks of the lm-evaluation-harness.

Examples:
  python -m eval export to=lm_eval bundle=latest out=DIR
  python -m eval export out=DIR bundle=math_heavy-1a2b3c4d limit=null
  python -m eval export out=DIR template=chatml
  python -m eval export out=DIR max_new_tokens=256

What it writes:
  a folder that `lm_eval --include_path DIR --tasks poolmix_BUNDLE` reads as it is: a task for each
  source and a group over all, the rows, the rule that finds the answer in a reply (copied, so that
  poolmix need not be installed there), and a README with the command and what the numbers mean

Without a template the rows hold the question and the system text, and the harness puts them into the
model's own chat template (--apply_chat_template): talks of several turns and rows with tools are then
left out, and counted. With one, the rows hold the prompt as text, as in `eval run`.

The last line printed is the folder. An earlier export there is replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.front import Job

if TYPE_CHECKING:
    from eval.lm_eval_task import TaskExport

TARGETS = ("lm_eval",)


def run(config: dict[str, Any], job: Job) -> None:
    """Export, and print the folder."""
    from pipeline.cli import prepare_libraries

    prepare_libraries(config.get("threads"))
    bundle, bundles, pools, asked = _read(config)
    from dataclasses import replace

    import xxhash

    from eval.lm_eval_task import export_task
    from pipeline.manifest import open_bundle

    opened = open_bundle(bundle, bundles)
    if job.sweep:
        own = xxhash.xxh3_64_hexdigest(" ".join(job.overrides).encode())[:8]
        asked = replace(asked, out=asked.out / f"{opened.folder.name}-{own}")
    print(export_task(opened, asked, pools, lambda line: print(line, flush=True)))


def _read(config: dict[str, Any]) -> tuple[str, Path, Path, TaskExport]:
    """The bundle's name, the folders of bundles and pools, and what is asked for. Raises: ConfigErrors."""
    from eval.lm_eval_task import TaskExport
    from pipeline.cli import root
    from pipeline.errors import ConfigErrors, PoolmixError
    from pipeline.render.template import NONE, TOKENIZER, read_template
    from pipeline.settings import Settings, is_text, is_whole, read_paths

    errors: list[PoolmixError] = []
    whole = (is_whole(1), "a whole number above 0")
    top = Settings(config, "", errors)
    top.known({"to", "bundle", "out", "limit", "max_new_tokens", "template", "threads", "paths"})
    top.value("threads", *whole, "2")
    top.required("to", lambda value: value in TARGETS, " or ".join(TARGETS), TARGETS[0], TARGETS[0])
    bundle = top.required("bundle", is_text, "a bundle's folder or name, or latest", "latest", "latest")
    paths = read_paths(config, errors)
    template = read_template(config, root(), errors) if config.get("template") else None
    asked = TaskExport(
        out=Path(top.required("out", is_text, "a folder", "DIR", ".")).expanduser(),
        limit=top.value("limit", *whole, "100"),
        max_new_tokens=top.required("max_new_tokens", *whole, "128", 1),
        template=template if template is not None and template.name not in (NONE, TOKENIZER) else None,
    )
    if errors:
        raise ConfigErrors(errors)
    return bundle, paths.bundles, paths.pools, asked
