"""Which model a name means and where its files are: names, the hub, the starter model, GGUF files. Torch-free."""

from sessions.models.hub import cached
from sessions.models.locate import Source, absolute, default_model, located, on_disk, refuse_unknown, resolve
from sessions.models.names import DEMO, LLAMA_2_CHAT, NAMES, OPEN_CHAT, STARTER, hub_name

__all__ = [
    "DEMO",
    "LLAMA_2_CHAT",
    "NAMES",
    "OPEN_CHAT",
    "STARTER",
    "Source",
    "absolute",
    "cached",
    "default_model",
    "hub_name",
    "located",
    "on_disk",
    "refuse_unknown",
    "resolve",
]
