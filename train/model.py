"""The model that is tuned: loaded, quantized, given an adapter."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from train import attention
from train.device import Device
from train.settings import Lora


def torch_type(name: str) -> Any:
    """PyTorch's type by its short name (`bf16`)."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder, or of an adapter's.

    Never runs code that comes with it, nor asks whether to. Raises: ConfigError if it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # `tokenizers` raises nothing more exact
        what = f"cannot be loaded ({' '.join(str(error).split())[:300]})"
        raise ConfigError(f"tokenizer of {folder}", what, "copy its files from the model again") from error
    for how_it_was_loaded in ("local_files_only", "trust_remote_code"):
        tokenizer.init_kwargs.pop(how_it_was_loaded, None)
    return tokenizer


def load_model(folder: Path, device: Device) -> Any:
    """The model in a folder, in the device's types and on it, with `use_cache` off.

    Never runs code that comes with a model. Raises: ConfigError if transformers cannot read it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    attention.register()
    settings: dict[str, Any] = {
        "dtype": torch_type(device.dtype),
        "attn_implementation": device.attention,
        "quantization_config": quantization(device),
        "local_files_only": True,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    if device.quant != "none":
        settings["device_map"] = {"": torch.cuda.current_device() if device.kind == "cuda" else device.kind}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(folder), **settings)
    except _unreadable_errors() as error:
        raise _unreadable(folder, error) from error
    if device.quant == "none":
        model = model.to(device.kind)
    for module in model.modules():
        # bitsandbytes would pack 4-bit weights for inference as soon as a processor with bf16 instructions computes
        # without gradients (a validation, say), and gives no gradients ever after, without an error.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    model.config.use_cache = False
    return model


def quantization(device: Device) -> Any:
    """How bitsandbytes keeps the weights: NF4 with double quantization (Dettmers et al. 2023, QLoRA), or int8."""
    if device.quant == "none":
        return None
    from transformers import BitsAndBytesConfig

    if device.quant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch_type(device.dtype),
        bnb_4bit_quant_storage=torch_type(device.dtype),
    )


def add_adapter(model: Any, lora: Lora, targets: Sequence[str] | str, seed: int, low_memory: bool = False) -> Any:
    """The model with a new LoRA adapter in float32 (Hu et al. 2021); its first weights depend on the seed alone.

    Raises: ConfigError if the model has none of the projections.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    chosen = lora.targets or targets
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=chosen if isinstance(chosen, str) else list(chosen),
        bias="none",
        task_type="CAUSAL_LM",
    )
    set_seed(seed)
    try:
        tuned = get_peft_model(model, settings, low_cpu_mem_usage=low_memory)
    except ValueError as error:
        what = f"the model has none of these ({' '.join(str(error).split())[:200]})"
        raise ConfigError(f"lora.targets={chosen}", what, "name its projections, or all-linear") from error
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return tuned


@contextmanager
def without_casts(model: Any, device: Device) -> Generator[None]:
    """While autocast is at work: adapters take their inputs as they are. peft brings each to the adapter's float32, and
    autocast back again, which changes nothing and takes a fifteenth of a step."""
    layers = [module for module in model.modules() if hasattr(module, "cast_input_dtype_enabled")]
    for layer in layers:
        layer.cast_input_dtype_enabled = device.dtype == "fp32"
    try:
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = True


@contextmanager
def in_float32(model: Any) -> Generator[None]:
    """While a processor generates: frozen weights of 16 bits as float32, if memory suffices. Token by token it is
    several times as fast with them; they come back as they were, bit by bit."""
    import psutil
    import torch

    halves = (torch.bfloat16, torch.float16)
    found = {one: one.data for one in model.parameters() if one.dtype in halves and one.device.type == "cpu"}
    quantized = any(hasattr(one, "quant_state") for one in model.parameters())
    if quantized or 2 * sum(one.nbytes for one in found) > psutil.virtual_memory().available / 2:
        found = {}
    for parameter in found:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, data in found.items():
            parameter.data = data


def outline(folder: Path, lora: Lora, targets: Sequence[str] | str) -> tuple[dict[str, int], dict[str, int]]:
    """Of a model with its adapter, without loading it: its shape (numbers of elements), and how many parameters it has
    and how many of them are `trainable`. Raises: ConfigError as `load_model` and `add_adapter` do."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except _unreadable_errors() as error:
        raise _unreadable(folder, error) from error
    with torch.random.fork_rng():
        tuned = add_adapter(model, lora, targets, 0, low_memory=True)
    counts = weights(tuned)
    return shape(config), {"parameters": counts["parameters"], "trainable": counts["trainable"]}


def _unreadable_errors() -> tuple[type[Exception], ...]:
    """What transformers raises for a folder that it cannot make a model of. (A shortage of memory is none of these.)"""
    from huggingface_hub.errors import StrictDataclassError

    wrong = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RecursionError)
    return (*wrong, StrictDataclassError)


def _unreadable(folder: Path, error: Exception) -> ConfigError:
    what = f"cannot be loaded ({' '.join(str(error).split())[:300]})"
    return ConfigError(f"model {folder.name}", what, "name another, or set model.path=FOLDER")


def weights(model: Any) -> dict[str, int]:
    """`parameters`, `trainable` (both in numbers, 4-bit weights counted one by one) and `bytes` of all of them."""
    total = trainable = size = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        count = parameter.numel() if state is None else state.shape.numel()
        total += count
        trainable += count if parameter.requires_grad else 0
        size += parameter.numel() * parameter.element_size()
    return {"parameters": total, "trainable": trainable, "bytes": size}


def shape(config: Any) -> dict[str, int]:
    """What the estimate of memory needs of a model's configuration, in numbers of elements."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return {
        "layers": text.num_hidden_layers,
        "hidden": text.hidden_size,
        "intermediate": text.intermediate_size,
        "heads": heads,
        "kv_heads": getattr(text, "num_key_value_heads", None) or heads,
        "head_dim": size,
        "vocabulary": text.vocab_size,
    }
