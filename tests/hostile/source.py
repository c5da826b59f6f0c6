"""What may not stand in the source: a walk over syntax trees, with the few exceptions and their reasons."""

from __future__ import annotations

import ast
from collections.abc import Iterator

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
# They run what they read, or load libraries by a name that came with data.
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "imp", "code"}
SHELL = {"os.system", "os.popen", "os.spawnl", "os.spawnlp", "os.execl", "os.execlp", "subprocess.getoutput"}
SHELL |= {"subprocess.getstatusoutput", "pty.spawn", "commands.getoutput", "asyncio.create_subprocess_shell"}
PROCESSES = {
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
}
YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}
INSTANTIATES = {"instantiate", "get_class", "get_method", "get_object"}
NAMES_A_MODEL = ("AutoTokenizer", "AutoConfig", "AutoModelForCausalLM", "AutoModel", "AutoProcessor")


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Line and fault of everything in a module that could run what is no part of the program."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            own = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, f"imports {name}") for name in own if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, fault) for fault in _call_faults(node, _full_name(node.func, aliases)))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in RUNS_CODE:
            yield node.lineno, f"names {node.id}"
        elif isinstance(node, ast.Attribute) and _full_name(node, aliases) in SHELL | {
            "builtins.eval",
            "builtins.exec",
        }:
            yield node.lineno, f"names {_full_name(node, aliases)}"
        elif isinstance(node, ast.Dict):
            yield from ((node.lineno, fault) for fault in _dict_faults(node))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """The names that imports bind, anywhere in the module, by what they are in full."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        before = _full_name(node.value, aliases)
        return f"{before}.{node.attr}" if before else f".{node.attr}"
    return aliases.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _call_faults(call: ast.Call, name: str) -> Iterator[str]:
    given = {word.arg: word.value for word in call.keywords if word.arg}
    last = name.rpartition(".")[2]
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
        yield "trusts code that comes with a model"
    if "shell" in given and not _is(given["shell"], False):
        yield "uses a shell"
    if name in PROCESSES and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr | ast.BinOp):
        yield "gives a command as one text"
    if name in SHELL | YAML or last == "mktemp":
        yield f"calls {name}"
    if name in ("importlib.import_module", "importlib.util.spec_from_file_location", "runpy.run_path") or last in (
        "exec_module",
        "run_module",
    ):
        yield "imports by name"
    if last in INSTANTIATES and "hydra" in name:
        yield f"calls {name}"
    if name in ("numpy.load", "np.load") and not _is(given.get("allow_pickle"), False):
        yield "numpy.load without allow_pickle=False"
    if name == "torch.load" and not _is(given.get("weights_only"), True):
        yield "torch.load without weights_only=True"
    if last == "from_pretrained" and any(model in name for model in NAMES_A_MODEL):
        yield from _model_faults(call, given, name)


def _model_faults(call: ast.Call, given: dict[str, ast.expr], name: str) -> Iterator[str]:
    """A model is loaded from files that are here, as safetensors, without code; settings in `**` are looked at where
    they are written (`_dict_faults`)."""
    if any(word.arg is None for word in call.keywords):
        return
    if not _is(given.get("trust_remote_code"), False):
        yield f"{name} without trust_remote_code=False"
    if not _is(given.get("local_files_only"), True):
        yield f"{name} without local_files_only=True"
    if "Model" in name and not _is(given.get("use_safetensors"), True):
        yield f"{name} without use_safetensors=True"


def _dict_faults(node: ast.Dict) -> Iterator[str]:
    keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
    given = dict(zip(keys, node.values, strict=True))
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
        yield "trusts code that comes with a model"
    if given.get("shell") is not None and not _is(given["shell"], False):
        yield "uses a shell"
    if "local_files_only" in given and "trust_remote_code" not in given:
        yield "settings of from_pretrained without trust_remote_code=False"


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value
