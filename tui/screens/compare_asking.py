"""A prompt on its way to two versions, and both replies on their way back.

Knows nothing of votes but that new replies have none.
"""

from __future__ import annotations

from corpora.dialog import Message
from corpora.errors import LlamaTuiError
from sessions.comparing import IN_TURN, Comparison
from sessions.errors import Failure
from sessions.protocol import BASE, AnyEvent, ColumnEnded, Failed, Prefilled, Token
from tui.messages import PromptHandedOver
from tui.screens.background import background
from tui.screens.compare_parts import CompareParts
from tui.widgets.answers import Question
from tui.widgets.dialogs import Confirm

NOTHING = "There is nothing to vote on. r asks again, n starts another prompt."


class Asking(CompareParts):
    """Asks and shows replies; another prompt can be asked after any ending."""

    def __init__(self) -> None:
        super().__init__()
        self.blind = False
        self._asked: str | None = None
        """The id of the command that the host answers, as long as it does."""

    def on_question_asked(self, message: Question.Asked) -> None:
        """Enter in the prompt."""
        self.ask()

    def on_question_asked_too_early(self, message: Question.AskedTooEarly) -> None:
        """Enter in the prompt while replies are coming."""
        self.llama.notify("Replies are still coming. escape stops them.", severity="warning")

    def on_prompt_handed_over(self, message: PromptHandedOver) -> None:
        """Another screen asks for a comparison: ask at once, after what was said in the chat before."""
        self.question.put(message.prompt)
        self.question.ask()

    def action_again(self) -> None:
        """Ask what stands in the prompt, else what was asked last."""
        if not self.question.text.strip():
            self.question.put(self.question.asked)
        self.question.ask()

    @background("ask")
    async def ask(self) -> None:
        """Stream both replies to their end."""
        question, begun = self.question, False
        try:
            if (dialog := await self._dialog(question.asked.strip())) is not None:
                begun = True
                await self._answer(dialog)
        finally:
            self._asked = None
            question.end(begun)
        if begun:
            self._ended()

    async def _dialog(self, prompt: str) -> tuple[Message, ...] | None:
        """What is asked; None where the person goes back. Raises LlamaTuiError while there is no store."""
        await self.llama.until_open()
        tags = self.llama.client.tags_in(prompt)
        if tags and not await self._allowed(tags):
            return None
        return self.llama.chat.dialog(self.before, prompt, tags_allowed=bool(tags))

    async def _allowed(self, tags: list[str]) -> bool:
        question = f"The prompt holds {' and '.join(tags)}, which Llama 2 reads as the end or start of a turn."
        answer = await self.app.push_screen_wait(Confirm("Send it all the same?", question, yes="Send", no="Go back"))
        return answer is True

    async def _answer(self, dialog: tuple[Message, ...]) -> None:
        comparison = self.comparison = Comparison(dialog, self.pair, self.blind)
        self._begin(comparison)
        try:
            if await self._load(comparison):
                async for event in comparison.ask(self.llama.client, self.llama.chat.sampling, id=self._asked):
                    self._take(event)
        except LlamaTuiError as error:
            self._fail(Failure.of(error))

    async def _load(self, comparison: Comparison) -> bool:
        """Load each version by itself, so that one that cannot be loaded says so in its own column."""
        loaded = True
        for column, adapter in enumerate(comparison.columns):
            try:
                if adapter != BASE:
                    await self.llama.client.load_adapter(adapter)
            except LlamaTuiError as error:
                loaded = False
                self._fail(Failure.of(error), column)
        return loaded

    def _begin(self, comparison: Comparison) -> None:
        self._asked, self.failed, self.verdict = self.llama.client.next_id(), False, None
        self.add_class("-asked")
        for column, head, adapter in zip(self.columns, self.heads, comparison.columns, strict=True):
            column.clear()
            head.begin(adapter, comparison.blind)
        self.say("The replies are coming. escape stops them.")
        self.answers.begin()
        if not self.question.typed:
            self.question.unmark()
            self.set_focus(self.answers)
        self.refresh_bindings()

    def _take(self, event: AnyEvent) -> None:
        match event:
            case Prefilled():
                self._prefilled(event)
            case Token(text=text, column=column, tokens=tokens):
                self.columns[column].reply.feed(text)
                self.heads[column].count(tokens)
                self.heads[column].draw()
                self.answers.follow()
            case ColumnEnded(column=column):
                self.columns[column].reply.finish()
                self.heads[column].end(event)
            case Failed(failure=failure):
                self._fail(failure)

    def _prefilled(self, event: Prefilled) -> None:
        if event.columns:
            for place, head in enumerate(self.heads):
                if self.comparison is not None and self.comparison.ended[place] is None:
                    head.wait(place not in event.columns)
            self.say(f"{IN_TURN} escape stops them.")
        if event.dropped_exchanges:
            self.say(f"The prompt is long: the oldest {event.dropped_exchanges} exchanges were left out.")

    def _fail(self, failure: Failure, column: int | None = None) -> None:
        """Say why where a reply is missing: one that came whole before another failed stays as it is."""
        self.failed = True
        ended = self.comparison.ended if self.comparison is not None else []
        missing = [place for place in range(2) if place >= len(ended) or ended[place] is None]
        for place in (missing or range(2)) if column is None else (column,):
            self.columns[place].fail(failure)
            self.heads[place].fail()

    def _ended(self) -> None:
        comparison = self.comparison
        if comparison is None or not self.open_to_vote:
            self.say(NOTHING)
        else:
            same = comparison.replies[0].strip() == comparison.replies[1].strip()
            self.invite(
                *(["The replies are identical."] if same else []),
                *(["They were written in turn."] if comparison.in_turn else []),
            )
        self.refresh_bindings()

    async def action_stop(self) -> None:
        """Stop the replies; what has come can be voted on. Otherwise leave the prompt; never go into it: keys vote."""
        if self._asked is not None:
            await self.llama.client.cancel(self._asked)
        elif self.question.has_focus and self.comparison is not None:
            self.set_focus(self.answers)
        else:
            self.llama.clear_notifications()
