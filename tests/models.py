"""Small models that tests make for themselves: a random Llama, and a tokenizer of Llama 2's make.

Everything is seeded, so that the same arguments give the same files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from corpora.dialog import Message
from corpora.llama2 import encode_examples
from corpora.model_tokenizer import read_tokenizer
from sessions.models.starter import FILE, SIZE
from sessions.paths import Paths
from sessions.registry import Lineage

SPECIAL = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A model answers what a person asks, and a person corrects what a model answers.",
    "[INST] What is the name of the cat? [/INST] The cat is called Mouse.",
    "Keep a good reply; correct one that is nearly good; then train and compare the old with the new.",
    "1 2 3 4 5 6 7 8 9 10, and so on: one hundred, two hundred, three hundred.",
)


def tiny_tokenizer(folder: Path, size: int = 512) -> Path:
    """Write `tokenizer.json` and its config as Llama 2 has them, with a small vocabulary; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = Tokenizer(BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=True)
    words = BpeTrainer(vocab_size=size, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    trained.train_from_iterator(SENTENCES * 4, words)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config())
    _write_json(folder / "special_tokens_map.json", {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    return folder


def byte_level_tokenizer(
    folder: Path, template: str = "", *, special: tuple[str, ...] = (), bos: str = "", eos: str = "<|endoftext|>"
) -> Path:
    """Write a tokenizer of GPT's make (byte-level BPE) with special tokens and a chat template; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = list(dict.fromkeys([*filter(None, (bos, eos)), *special]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        SENTENCES * 4, BpeTrainer(vocab_size=500, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    )
    backend.save(str(folder / "tokenizer.json"))
    named = {"bos_token": bos, "eos_token": eos, "chat_template": template}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **{key: text for key, text in named.items() if text}}
    _write_json(folder / "tokenizer_config.json", config)
    return folder


def tiny_model(folder: Path, kind: str, tokenizer_dir: Path, *, context: int = 256, seed: int = 0) -> Path:
    """Write a random model of an architecture (`bloom`, `gpt_neox`, `llama`, `mistral`, `qwen2`); returns `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _copy_tokenizer(tokenizer_dir, folder)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 128}
    if kind == "bloom":
        sizes = {"n_layer": 2, "n_head": 4, "hidden_size": 64, "seq_length": context}
    if kind in ("llama", "mistral", "qwen2"):
        sizes["num_key_value_heads"] = 2
    if kind == "mistral":
        sizes["head_dim"] = 16
    config = AutoConfig.for_model(
        kind,
        vocab_size=vocabulary.get_vocab_size(),
        initializer_range=0.08,
        bos_token_id=vocabulary.token_to_id(told.get("bos_token", "")),
        eos_token_id=vocabulary.token_to_id(told["eos_token"]),
        tie_word_embeddings=False,
        **({} if kind == "bloom" else {"max_position_embeddings": context}),
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def tiny_llama(
    folder: Path,
    tokenizer_dir: Path | None = None,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int | None = None,
    intermediate: int | None = None,
    context: int = 256,
    seed: int = 0,
    tied: bool = False,
    spread: float = 0.08,
    dtype: str = "bfloat16",
    endless: bool = False,
) -> Path:
    """Write a random Llama (config, safetensors, tokenizer) and return its folder.

    `tokenizer_dir` holds a tokenizer.json, such as the real Llama 2 one; without it `tiny_tokenizer` is
    used. `hidden` and `intermediate` should be multiples of 64, as 4-bit blocks are. `spread` is the
    weights' standard deviation: large enough that greedy replies are not one token over and over. An `endless` one
    never ends a greedy reply: its logit of EOS is 0, and of hundreds of random ones some are above.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    _copy_tokenizer(tokenizer_dir, folder) if tokenizer_dir else tiny_tokenizer(folder)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate or 2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        max_position_embeddings=context,
        initializer_range=spread,
        tie_word_embeddings=tied,
        rms_norm_eps=1e-5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(getattr(torch, dtype))
        if endless:
            model.lm_head.weight.data[config.eos_token_id] = 0
        model.save_pretrained(folder)
    return folder


def taught_llama(folder: Path, dialogs: Sequence[tuple[str, str]], *, steps: int = 80, seed: int = 0) -> Path:
    """Write a small Llama that was trained on these prompts and replies and gives each reply; returns `folder`.

    Unlike a random one it can be damaged by training. It takes about two seconds.
    """
    import torch
    from transformers import LlamaForCausalLM

    from sessions.engine.words import words_of

    tiny_llama(folder, spread=0.05, dtype="float32", seed=seed)
    words = words_of(read_tokenizer(folder), [])
    pairs = [[Message("user", prompt), Message("assistant", reply)] for prompt, reply in dialogs]
    rows = encode_examples(pairs, words.vocabulary)
    longest = max(len(row.ids) for row in rows)
    ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), -100)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        marked = [token if trained else -100 for token, trained in zip(row.ids, row.trained, strict=True)]
        labels[index, : len(row.ids)] = torch.tensor(marked)
    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def tiny_adapter(
    folder: Path, base: Path, *, rank: int = 8, alpha: float = 16, seed: int = 0, size: float = 0.3, dora: bool = False
) -> Path:
    """Write a random LoRA (or DoRA) on all linear layers of a Llama as PEFT stores it; `size` 0 changes nothing."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    shape = json.loads((base / "config.json").read_text("utf-8"))
    source = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        for module, (outputs, inputs) in _linear_shapes(shape).items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=source) * inputs**-0.5
            tensors[f"{name}.lora_B.weight"] = torch.randn(outputs, rank, generator=source) * size
            if dora:
                tensors[f"{name}.lora_magnitude_vector"] = 0.5 + torch.rand(outputs, generator=source)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = [name.rpartition(".")[2] for name in _linear_shapes(shape)]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM", use_dora=dora)
    config.save_pretrained(folder)
    lineage = Lineage(adapter=folder.parent.name, version=int(folder.name[1:]), parent="base", base_model=str(base))
    (folder / "lineage.json").write_bytes(msgspec.json.encode(lineage))
    return folder


def link_starter(cache: Path, file: Path) -> None:
    """Put the starter model's file into a cache."""
    folder = cache / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file.name).symlink_to(file)


def put_into_hub_cache(paths: Paths, name: str, folder: Path) -> Path:
    """A complete model in the hub's cache."""
    place = paths.cache.parent / "hf" / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("1a2b")
    (place / "snapshots").mkdir()
    (place / "snapshots" / "1a2b").symlink_to(folder)
    return place / "snapshots" / "1a2b"


def put_starter(paths: Paths) -> Path:
    """A file of the starter model's name and size."""
    file = paths.cache / "downloads" / FILE
    file.parent.mkdir(parents=True)
    with file.open("wb") as empty:
        empty.truncate(SIZE)
    return file


def _linear_shapes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    heads, shared = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        "self_attn.q_proj": (heads, hidden),
        "self_attn.k_proj": (shared, hidden),
        "self_attn.v_proj": (shared, hidden),
        "self_attn.o_proj": (hidden, heads),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def _copy_tokenizer(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), "utf-8")
