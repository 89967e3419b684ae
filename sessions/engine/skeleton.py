"""A model's modules without weights, with 4-bit or 8-bit linear layers, and how tensors get into them.

One door for every causal language model whose checkpoint is named like its modules.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sessions.engine.arena import Arena, Entry, Manifest, Writer
from sessions.engine.libraries import bnb, bnf
from sessions.errors import ModelUnusable

BLOCK = 64
NESTED_BLOCK = 256


def read_config(folder: Path) -> Any:
    """The model's transformers config. Raises ModelUnusable for code of its own or no causal language model."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelUnusable(
            f"{folder}/config.json cannot be used: {str(error).splitlines()[0]:.300}",
            data="Nothing was loaded; code that comes with a model is never run.",
            remedy="Choose a model that transformers knows by itself.",
        ) from error
    architectures = getattr(config, "architectures", None) or []
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not getattr(config, "is_encoder_decoder", False)
    if not causal or (architectures and not any("CausalLM" in name or "LMHead" in name for name in architectures)):
        raise ModelUnusable(
            f"{folder} holds {', '.join(architectures) or config.model_type}, which is no causal language model.",
            remedy="Choose a model that writes text, such as Llama 2.",
        )
    return config


def build(config: Any, quantization: str, dtype: torch.dtype) -> Any:
    """The modules: parameters on the meta device, buffers real, linear layers (but the head) quantized."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    with init_empty_weights(include_buffers=False), no_init_weights():
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()
    model.requires_grad_(False).eval()
    if quantization != "none":
        _replace_linears(model, quantization, dtype)
    return model


def _replace_linears(model: Any, quantization: str, dtype: torch.dtype) -> None:
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear or module is head:
            continue
        parent, _, leaf = name.rpartition(".")
        make = _four_bit if quantization == "nf4" else _eight_bit
        setattr(model.get_submodule(parent), leaf, make(module, dtype).eval())


def _four_bit(linear: nn.Linear, dtype: torch.dtype) -> nn.Module:
    made = bnb.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    # Repacking at the first forward pass would un-share the weights and make later gradients wrong.
    made.support_avx512bf16_for_cpu = False
    return made.requires_grad_(False)  # type: ignore[no-any-return]


def _eight_bit(linear: nn.Linear, _: torch.dtype) -> nn.Module:
    made = bnb.nn.Linear8bitLt(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        has_fp16_weights=False,
        threshold=6.0,
        device="meta",
    )
    return made.requires_grad_(False)  # type: ignore[no-any-return]


def quantized(model: nn.Module, name: str) -> str:
    """How the parameter of that name is held: `nf4`, `int8` or `plain`."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if leaf == "weight" and isinstance(module, bnb.nn.Linear4bit):
        return "nf4"
    return "int8" if leaf == "weight" and isinstance(module, bnb.nn.Linear8bitLt) else "plain"


@torch.inference_mode()
def weight_of(linear: Any) -> torch.Tensor:
    """A linear layer's weight, [out, in], dequantized where it is held in 4 or 8 bits."""
    if isinstance(linear, bnb.nn.Linear4bit):
        return bnf.dequantize_4bit(linear.weight, linear.weight.quant_state)  # type: ignore[no-any-return]
    if isinstance(linear, bnb.nn.Linear8bitLt):
        # The first pass moves both from the weight to the layer's state.
        held = linear.state if linear.weight.CB is None else linear.weight
        return bnf.int8_vectorwise_dequant(held.CB, held.SCB)  # type: ignore[no-any-return]
    weight: torch.Tensor = linear.weight
    return weight


def write_entry(writer: Writer, kind: str, tensor: torch.Tensor, shared: dict[str, Any]) -> Entry:
    """Quantize one tensor and write its parts; the two code books are written once, into `shared`."""
    shape = tuple(tensor.shape)
    if kind == "plain":
        return Entry(kind, shape, {"data": writer.add(tensor)})
    if kind == "int8":
        data, scale, _ = bnf.int8_vectorwise_quant(tensor.to(torch.float16))
        return Entry(kind, shape, {"data": writer.add(data), "scale": writer.add(scale)})
    data, state = bnf.quantize_4bit(tensor, blocksize=BLOCK, compress_statistics=True, quant_type="nf4")
    parts = {"data": data, "absmax": state.absmax, "offset": state.offset, "absmax2": state.state2.absmax}
    if not shared:
        shared.update(code=writer.add(state.code), code2=writer.add(state.state2.code))
    return Entry(kind, shape, {part: writer.add(value) for part, value in parts.items()})


def plug(model: Any, arena: Arena, manifest: Manifest) -> None:
    """Put views of the arena into the skeleton; nothing is copied."""
    codes = {name: arena.view(piece) for name, piece in manifest.shared.items()}
    dtype: torch.dtype = getattr(torch, manifest.dtype)
    for name, entry in manifest.entries.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        parts = {part: arena.view(piece) for part, piece in entry.pieces.items()}
        if entry.kind == "nf4":
            _plug_four_bit(module, parts, codes, entry.shape, dtype)
        elif entry.kind == "int8":
            data = parts["data"]
            module.weight = bnb.nn.Int8Params(
                data, requires_grad=False, has_fp16_weights=False, CB=data, SCB=parts["scale"]
            )
            module.state.CB = module.state.SCB = None
        elif leaf in module._buffers:
            module._buffers[leaf] = parts["data"]
        else:
            module._parameters[leaf] = nn.Parameter(parts["data"], requires_grad=False)
    model.tie_weights()


def _plug_four_bit(
    module: Any,
    parts: dict[str, torch.Tensor],
    codes: dict[str, torch.Tensor],
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> None:
    nested = bnf.QuantState(absmax=parts["absmax2"], blocksize=NESTED_BLOCK, code=codes["code2"], dtype=torch.float32)
    state = bnf.QuantState(
        absmax=parts["absmax"],
        shape=torch.Size(shape),
        code=codes["code"],
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=dtype,
        offset=parts["offset"],
        state2=nested,
    )
    module.weight = bnb.nn.Params4bit(
        parts["data"],
        requires_grad=False,
        quant_state=state,
        blocksize=BLOCK,
        compress_statistics=True,
        quant_type="nf4",
        quant_storage=torch.uint8,
        module=module,
        bnb_quantized=True,
    )
    module.quant_state = state


def mark_quantized(model: Any, quantization: str, dtype: torch.dtype) -> None:
    """Tell transformers, PEFT and TRL what they would know had they quantized the model themselves."""
    if quantization == "none":
        return
    from transformers import BitsAndBytesConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    four = quantization == "nf4"
    config = BitsAndBytesConfig(
        load_in_4bit=four,
        load_in_8bit=not four,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model.is_quantized = True
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = four, not four
    model.quantization_method = config.quant_method
    model.config.quantization_config = config
    model.hf_quantizer = AutoHfQuantizer.from_config(config, pre_quantized=True)
