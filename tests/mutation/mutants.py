"""Ways to break the rules of DESIGN: each must make a test fail.

A mutant replaces one text of one file, which must stand there exactly once; `tests` are quick ones that should notice:
files, or single tests in them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`rule` is the number of DESIGN section 4, or a promise of sections 3 and 5."""

    name: str
    rule: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]


_BUILD = "tests/pipeline/test_build.py"
_SELECTION = "tests/pipeline/test_selection.py"
_POOL = "tests/pipeline/test_pool.py"
_KEYS = "tests/pipeline/test_keys.py"
_SPLIT = "tests/pipeline/test_split.py"
_STRATEGIES = "tests/pipeline/mix/test_strategies.py"
_STORE = "tests/pipeline/test_store.py"
_GUARD = "tests/pipeline/cli/front/test_guard.py"
_VERIFY = "tests/pipeline/verify/test_verify.py"

MUTANTS = (
    # 1: nothing is lost silently
    Mutant(
        "a refused row is not listed",
        "1",
        "pipeline/quarantine.py",
        "    if drafts is not None:\n",
        "    if drafts is None:\n",
        (_POOL,),
    ),
    Mutant(
        "an unreadable record is not counted as raw",
        "1",
        "pipeline/ingest.py",
        "    raw_rows = len(block.record) + unreadable\n",
        "    raw_rows = len(block.record)\n",
        (_POOL,),
    ),
    Mutant(
        "filtered rows leave without a word",
        "1",
        "pipeline/selection.py",
        '        refused.append(_refused(rows.filter(fails), "filtered", pl.lit(settings.filter.text)))\n',
        "        refused.append(pl.DataFrame(schema=REFUSED))\n",
        (f"{_SELECTION}::test_a_filter_quarantines_what_does_not_pass",),
    ),
    Mutant(
        "a copy of another source is counted as one within",
        "1",
        "pipeline/dedup/exact.py",
        '{0: None, 1: "within", 2: "across"}',
        '{0: None, 1: "within", 2: "within"}',
        ("tests/pipeline/dedup/test_exact.py",),
    ),
    Mutant(
        "copies are dropped and not counted",
        "1",
        "pipeline/selection.py",
        "    copies.append(_copies(rows.filter(copy.is_not_null()), copy.drop_nulls()))\n",
        "",
        (f"{_BUILD}::test_every_shipped_mix_builds_and_keeps_its_promises[math_heavy]",),
    ),
    # 2: a build is a function of its inputs
    Mutant(
        "files are read as the system lists them",
        "2",
        "pipeline/sources/files.py",
        "    return sorted(files, key=lambda file: file.name.encode())\n",
        "    return files\n",
        ("tests/pipeline/sources/test_files.py",),
    ),
    Mutant(
        "the order of rows comes from Polars' own hash",
        "2",
        "pipeline/keys.py",
        "    return pl.concat_str(prefix, pl.col(column)).nchash.xxh3_64()",
        "    return pl.concat_str(prefix, pl.col(column)).hash()",
        (_KEYS,),
    ),
    Mutant(
        "prompts are taken in the order of the rows",
        "2",
        "pipeline/split.py",
        '        "source", "rank", "prompt_key"\n    )',
        '        "source"\n    )',
        (_SPLIT,),
    ),
    Mutant(
        "results come in the order in which threads finish",
        "2",
        "pipeline/workers.py",
        "                yield ahead.popleft().result()\n        while",
        "                yield ahead.pop().result()\n        while",
        (f"{_POOL}::test_the_rows_do_not_depend_on_blocks_or_files",),
    ),
    Mutant(
        "of several copies the last source wins",
        "2",
        "pipeline/dedup/exact.py",
        "sorted(set(names) - set(prefer))",
        "sorted(set(names) - set(prefer), reverse=True)",
        ("tests/pipeline/dedup/test_exact.py",),
    ),
    # 3: A/B runs differ only where asked
    Mutant(
        "weights decide which rows are set aside",
        "3",
        "pipeline/build.py",
        "        validation = choose_validation(unique, settings.split, settings.seed)\n",
        "        heavy = int(10 * max(settings.mix.weights.values()))\n"
        "        validation = choose_validation(unique, settings.split, settings.seed + heavy)\n",
        (f"{_BUILD}::test_only_the_weights_change_and_validation_stays",),
    ),
    Mutant(
        "the ranking of rows depends on the quota",
        "3",
        "pipeline/mix/order.py",
        'rank(seed, f"epoch {epoch}", "key")',
        'rank(seed + quota, f"epoch {epoch}", "key")',
        (_STRATEGIES,),
    ),
    Mutant(
        "the total counts only sources with a weight",
        "3",
        "pipeline/mix/strategies.py",
        "int(DEFAULT_SHARE * sum(sizes.values()))",
        "int(DEFAULT_SHARE * sum(size for name, size in sizes.items() if weights[name]))",
        (_STRATEGIES,),
    ),
    # 4: no leakage
    Mutant(
        "rows are split one by one, not by prompt",
        "4",
        "pipeline/split.py",
        '    return rows["prompt_key"].is_in(list(taken))\n',
        '    return rows["prompt_key"].is_in(list(taken)) & rows["prompt_key"].is_first_distinct()\n',
        (_SPLIT,),
    ),
    Mutant(
        "rows of a reused validation prompt are trained on",
        "4",
        "pipeline/split.py",
        '        .then(pl.lit("prompt_in_validation"))\n',
        '        .then(pl.lit("train"))\n',
        (_SPLIT,),
    ),
    Mutant(
        "validation rows are also trained on",
        "4",
        "pipeline/build.py",
        '    available = unique.filter(pl.col("fate") == "train")\n',
        '    available = unique.filter(pl.col("fate") != "prompt_in_validation")\n',
        (f"{_BUILD}::test_every_shipped_mix_builds_and_keeps_its_promises[math_heavy]",),
    ),
    Mutant(
        "verify overlooks a prompt on both sides",
        "4",
        "pipeline/verify/checks.py",
        '    both = train.join(validation.select("prompt_key").unique(), on="prompt_key", how="semi")\n',
        "    both = train.clear()\n",
        (f"{_VERIFY}::test_a_prompt_on_both_sides_is_found",),
    ),
    # 5: exact quotas
    Mutant(
        "quotas are rounded down",
        "5",
        "pipeline/mix/quotas.py",
        "    for name in remainders[: total - sum(quotas.values())]:\n",
        "    for name in remainders[:0]:\n",
        ("tests/pipeline/mix/test_quotas.py",),
    ),
    Mutant(
        "the smallest remainder wins",
        "5",
        "pipeline/mix/quotas.py",
        "key=lambda name: (quotas[name] - shares[name], name)",
        "key=lambda name: (shares[name] - quotas[name], name)",
        ("tests/pipeline/mix/test_quotas.py",),
    ),
    Mutant(
        "what was asked stands as what was got",
        "5",
        "pipeline/mix/account.py",
        '            "achieved_weight": round(self.share, 9),\n',
        '            "achieved_weight": round(self.asked, 9),\n',
        ("tests/pipeline/mix/test_checks.py",),
    ),
    Mutant(
        "rows are drawn where they should be used evenly",
        "5",
        "pipeline/mix/order.py",
        "            uses = _draw(own, name, quota, seed) if replacement else _epochs(own, quota, seed)\n",
        "            uses = _draw(own, name, quota, seed)\n",
        (_STRATEGIES,),
    ),
    # 6: nothing half-written is ever visible
    Mutant(
        "an existing folder is removed before the new one stands there",
        "6",
        "pipeline/store.py",
        "    elif not _exchange(place, target):\n",
        "    elif shutil.rmtree(target) or not _exchange(place, target):\n",
        (_STORE,),
    ),
    Mutant(
        "a file is not synced",
        "6",
        "pipeline/folder.py",
        "        self.stream.flush()\n        os.fsync(self.stream.fileno())\n",
        "        self.stream.flush()\n",
        (_STORE,),
    ),
    Mutant(
        "a pointer is written in place",
        "6",
        "pipeline/store.py",
        "    with hidden(path) as place:\n",
        "    with hidden(path):\n        path.unlink(missing_ok=True)\n        place = path\n",
        (_STORE,),
    ),
    Mutant(
        "an error leaves what was written",
        "6",
        "pipeline/leftovers.py",
        "            _clear(place, target)\n            del _open[place]\n",
        "            del _open[place]\n",
        (_STORE,),
    ),
    Mutant(
        "a file is written after the manifest",
        "6",
        "pipeline/publish.py",
        '    target.write_json("dataset_dict.json", {"splits": ["train", "validation"]})\n'
        '    target.write_manifest(manifest | {"files": dict(sorted(target.files.items()))})\n',
        '    target.write_manifest(manifest | {"files": dict(sorted(target.files.items()))})\n'
        '    target.write_json("dataset_dict.json", {"splits": ["train", "validation"]})\n',
        (f"{_VERIFY}::test_a_sound_bundle_has_no_faults",),
    ),
    # 7: work is never done twice, and never not done
    Mutant(
        "a pool's address forgets the bytes of its files",
        "7",
        "pipeline/ingest.py",
        'raw = [(file["path"], file["xxh3_128"]) for file in inputs]',
        'raw = [(file["path"], file["bytes"]) for file in inputs]',
        (_POOL,),
    ),
    Mutant(
        "a pool's address forgets the settings",
        "7",
        "pipeline/ingest.py",
        "what = [POOL_VERSION, _settings(source), raw, dataclasses.astuple(limits)]",
        "what = [POOL_VERSION, raw, dataclasses.astuple(limits)]",
        (_POOL,),
    ),
    Mutant(
        "a pool's address forgets the limits",
        "7",
        "pipeline/ingest.py",
        "what = [POOL_VERSION, _settings(source), raw, dataclasses.astuple(limits)]",
        "what = [POOL_VERSION, _settings(source), raw]",
        (_POOL,),
    ),
    Mutant(
        "a damaged pool is taken",
        "7",
        "pipeline/store.py",
        'if manifest is None or damaged_manifest(folder) or damaged_file(folder, manifest.get("files")):',
        'if manifest is None or "files" not in manifest:',
        (_POOL,),
    ),
    Mutant(
        "what is kept is made anew each time",
        "7",
        "pipeline/kept.py",
        "        if found is not None:\n",
        "        if False:\n",
        ("tests/pipeline/render/test_texts.py::test_texts_are_made_once",),
    ),
    Mutant(
        "the loss is no part of a rendering's address",
        "7",
        "pipeline/tools.py",
        "renderer.template.key(loss.settings())",
        "renderer.template.key()",
        ("tests/pipeline/render/test_texts.py::test_the_folder_depends_on_text_variables_and_loss_and_on_no_name",),
    ),
    # 8: stages are pure
    Mutant(
        "a stage reads the environment",
        "8",
        "pipeline/split.py",
        "import polars as pl\n\nfrom pipeline.keys import rank\n",
        "import os\n\nimport polars as pl\n\nfrom pipeline.keys import rank\n",
        ("tests/pipeline/test_purity.py",),
    ),
    Mutant(
        "a stage reads the clock",
        "8",
        "pipeline/normalize.py",
        "import numpy as np\nimport polars as pl\n",
        "import time\n\nimport numpy as np\nimport polars as pl\n",
        ("tests/pipeline/test_purity.py",),
    ),
    Mutant(
        "a stage opens a file",
        "8",
        "pipeline/mix/order.py",
        "    names = sorted(plan.quotas)\n    parts",
        '    names = sorted(open("names").read().split())\n    parts',
        ("tests/pipeline/test_purity.py",),
    ),
    # 9: configuration is data
    Mutant(
        "_target_ passes on the command line",
        "9",
        "pipeline/cli/front/guard.py",
        "    if _TARGET.search(override):\n",
        "    if False:\n",
        (_GUARD,),
    ),
    Mutant(
        "_target_ passes in a file",
        "9",
        "pipeline/cli/front/own_files.py",
        'if event.value in ("_target_", "searchpath")',
        'if event.value in ("searchpath",)',
        ("tests/hostile/test_configuration.py::test_no_file_names_code_or_more_than_there_is_room_for",),
    ),
    Mutant(
        "Hydra's own settings may be set",
        "9",
        "pipeline/cli/front/guard.py",
        '    if "hydra" in re.split(r"[./@:]", bare) and bare not in ALLOWED_HYDRA:\n',
        "    if False:\n",
        (_GUARD,),
    ),
    # sections 3 and 5
    Mutant(
        "a key ignores the tools",
        "key",
        "pipeline/keys.py",
        '    tail = pl.concat_str(pl.lit(\',"tools":\'), "tools").fill_null("")\n',
        '    tail = pl.lit("")\n',
        (_KEYS,),
    ),
    Mutant(
        "a prompt's key takes in the answer",
        "prompt key",
        "pipeline/keys.py",
        'hex128("prompt").alias("prompt_key")',
        'hex128("canonical").alias("prompt_key")',
        (_KEYS,),
    ),
    Mutant(
        "a digest does not see the epoch",
        "digest",
        "pipeline/keys.py",
        'pl.lit("\\x1f"), pl.col("epoch").cast(pl.String), pl.lit("\\n"))',
        'pl.lit("\\n"))',
        (_KEYS,),
    ),
    Mutant(
        "row numbers begin anew with each block",
        "id",
        "pipeline/sources/read.py",
        "            yield file.name, later(block, first)\n",
        "            yield file.name, later(block, 0)\n",
        (_POOL,),
    ),
    Mutant(
        "a source stands at the beginning of its stretch",
        "every prefix holds the mix",
        "pipeline/mix/order.py",
        "    middle = np.cumsum(size) - size / 2\n",
        "    middle = np.cumsum(size) / 2\n",
        (_STRATEGIES,),
    ),
    Mutant(
        "every epoch has the same order",
        "epochs",
        "pipeline/mix/order.py",
        'rank(seed, f"epoch {epoch}", "key")',
        'rank(seed, "epoch", "key")',
        (_STRATEGIES,),
    ),
    Mutant(
        "a source with weight 0 takes part",
        "weight 0",
        "pipeline/mix/strategies.py",
        "    quotas = {name: sizes[name] if weight else 0 for name, weight in weights.items()}\n",
        "    quotas = {name: sizes[name] for name, weight in weights.items()}\n",
        (_STRATEGIES,),
    ),
)
