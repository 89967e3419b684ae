"""Names of models: what a person types, what the hub calls it, and which models anyone can have. Torch-free."""

from __future__ import annotations

from sessions.command import command

DEMO, STARTER = "demo", "smollm2"
STARTER_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
LLAMA_2_CHAT = "meta-llama/Llama-2-7b-chat-hf"
OPEN_CHAT = "NousResearch/Llama-2-7b-chat-hf"
LLAMA_2 = {
    f"{size}{kind}": f"meta-llama/Llama-2-{size}{kind}-hf" for size in ("7b", "13b", "70b") for kind in ("", "-chat")
}
NAMES = {**LLAMA_2, STARTER: STARTER_ON_HUB}
"""Short names and the hub's names of the same models."""


def hub_name(model: str) -> str:
    """Return the hub's name for a short one such as `7b-chat`; any other name unchanged."""
    return NAMES.get(model.lower(), model)


def is_gated(name: str) -> bool:
    """Return whether a model is known to be gated, without a request to the hub."""
    return name in LLAMA_2.values()


def open_alternatives(model: str) -> str:
    """Return a sentence with the commands for open models, except the one that was asked for."""
    offers = {
        OPEN_CHAT: f"Llama-2-7b-chat from another publisher (13.5 GB): `{command('models', 'get', OPEN_CHAT)}`",
        STARTER_ON_HUB: f"the starter model (93 MB): `{command('--model', STARTER)}`",
        DEMO: f"the demo model, which is always here: `{command('--model', DEMO)}`",
    }
    left = [text for name, text in offers.items() if name != hub_name(model)]
    return f"Open to everyone: {'; or '.join(left[:2])}."
