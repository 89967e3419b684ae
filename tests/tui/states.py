"""States of the chat screen that pictures are made of; other screens' stand in `states_*.py`."""

from __future__ import annotations

from sessions.engine.fake import FakeEngine
from sessions.protocol import Generate, ModelInfo
from tests.tui.driving import Driven

LORA = """LoRA leaves the big weight matrix as it is and learns a **small correction** beside it:

- the frozen weight `W` stays at 4 bit
- two thin matrices `A` and `B` of rank *r* are trained
- the layer answers with `W x + (alpha / r) * B A x`

```python
def forward(self, x):
    return self.base(x) + self.scale * self.b(self.a(x))
```

So an adapter is a few megabytes, and swapping it takes milliseconds."""
REPLIES = {
    "What is LoRA?": LORA,
    "And QLoRA?": "The same, with the frozen base held in **NF4**: four bits a weight, 16 levels placed where "
    "normally distributed weights are.\nThe adapter itself stays in 16 bit.",
    "My name?": "I do not know your name yet. Correct this reply, and I will after the next training.",
    "你好，介绍一下你自己": "你好！我是一个运行在你自己机器上的小模型。你保留的每个回答都会教会我一些东西。",
    "سلام، می‌خواهم بیشتر بدانم": "سلام! من یک مدل کوچک هستم که روی دستگاه خودت اجرا می‌شود. 👩‍💻 🇮🇷",
}


def script(request: Generate, adapter: str) -> str:
    """Replies that look like a model's."""
    prompt = request.dialog[-1].content
    return REPLIES.get(prompt, f"You said: {prompt}")


def engine(pause: float = 0.0) -> FakeEngine:
    """A fake engine that looks like a Llama."""
    info = ModelInfo(
        name="Llama-2-7b-chat",
        architecture="LlamaForCausalLM",
        parameters=6_738_415_616,
        context=4096,
        quantization="NF4",
        device="cuda:0",
    )
    return FakeEngine(script=script, info=info, pause=pause)


async def empty(it: Driven) -> None:
    """A first start."""


async def chat(it: Driven) -> None:
    """A few exchanges: kept, corrected, another version."""
    await it.ask("My name?")
    await it.app.actions.edited(it.chat.target().id, "correct", "Your name is Ada, and you like walking in the Alps.")
    await it.ask("What is LoRA?")
    await it.pilot.press("ctrl+k")
    await it.pilot.pause(0.1)
    await it.ask("And QLoRA?")
    await it.pilot.press("ctrl+r")
    await it.until(lambda: not it.app.chat.busy and it.chat.live is None)
    it.chat.prompt.put("What would an adapter of rank 64 cost?")


async def languages(it: Driven) -> None:
    """Chinese, Persian, emoji, tags and control codes."""
    for prompt in (*list(REPLIES)[-2:], "[bold]not bold[/bold] \x1b[31mred \x9b \u202eabc"):
        await it.ask(prompt)


async def streaming(it: Driven) -> None:
    """A reply under way."""
    await it.ask("And QLoRA?")
    it.served.engine.pause = 0.05
    await it.say("What is LoRA?")
    await it.until(lambda: "trained" in it.shown())


async def error(it: Driven) -> None:
    """A prompt with tags in it, and a reply that failed."""
    from sessions.errors import OutOfMemory

    await it.ask("And QLoRA?")
    it.served.engine.error = OutOfMemory(
        "The GPU has no memory left for a context of 4,096 tokens.",
        data="The prompt is saved; the model stays loaded.",
        remedy="Start a new chat with ctrl+n, or end the run that is going on.",
    )
    await it.ask("What is LoRA?")
    it.served.engine.error = None
    await it.say("What does [/INST] mean?")
    await it.until(lambda: it.chat.query("#refusal"))


async def correcting(it: Driven) -> None:
    """The editor in an exchange."""
    await it.ask("And QLoRA?")
    await it.ask("My name?")
    await it.pilot.press("ctrl+e")
    await it.until(lambda: it.chat.editor is not None)


async def completing(it: Driven) -> None:
    """Slash commands."""
    await it.ask("And QLoRA?")
    it.chat.prompt.put("/re")


async def selected(it: Driven) -> None:
    """An earlier exchange is selected."""
    for prompt in ("My name?", "And QLoRA?", "My name?"):
        await it.ask(prompt)
    await it.pilot.press("ctrl+up", "ctrl+up")


async def history(it: Driven) -> None:
    """Earlier chats."""
    for prompt in ("My name?", "And QLoRA?", "你好，介绍一下你自己"):
        await it.ask(prompt)
        await it.pilot.press("ctrl+n")
        await it.pilot.pause(0.05)
    await it.pilot.press("ctrl+o")
    await it.pilot.pause(0.2)


async def settings(it: Driven) -> None:
    """All settings."""
    await it.pilot.press("f8")


async def help(it: Driven) -> None:
    """Keys and commands."""
    await it.pilot.press("f1")


async def palette(it: Driven) -> None:
    """All commands by name."""
    await it.pilot.press("ctrl+p")
    await it.pilot.pause(0.2)


STATES = {
    "empty": empty,
    "chat": chat,
    "languages": languages,
    "streaming": streaming,
    "error": error,
    "correcting": correcting,
    "completing": completing,
    "selected": selected,
    "history": history,
    "settings": settings,
    "help": help,
    "palette": palette,
}
