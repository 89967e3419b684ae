"""Two versions asked the same: both stream from one batch, are scrolled together and voted on.

Blind columns are named after the vote. Knows nothing of how a batch is made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Select, Static

from corpora.dialog import Exchange, Vote
from corpora.errors import LlamaTuiError
from sessions.comparing import IN_TURN, Comparison
from sessions.errors import Failure
from sessions.protocol import BASE, AnyEvent, ColumnEnded, Failed, Prefilled, Token
from tui import render
from tui.messages import AdaptersChanged, CorpusChanged, PromptHandedOver, StoreOpened
from tui.screens.background import background
from tui.screens.mode import ModeScreen
from tui.widgets.dialogs import Confirm
from tui.widgets.reply_column import Answers, ColumnHead, Question, ReplyColumn
from tui.widgets.verdicts import chosen, counted, told

if TYPE_CHECKING:
    from tui.app import LlamaTuiApp

TEACH = """Ask two versions the same and see what training has changed.

Choose left and right above, type a prompt, press enter. Both replies come at the same time.
Then vote: ← or 1 left, → or 2 right, t tie, x both bad. ctrl+b hides the names until the vote."""
ALONE = "There is no adapter yet: train one first (F4). Until then both columns are the base."


class CompareScreen(ModeScreen):
    """Choice, prompt, two columns, vote."""

    MODE: ClassVar[str] = "compare"
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = "#question"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "vote('left')", "Left", key_display="←", id="compare.left"),
        Binding("2", "vote('right')", "Right", key_display="→", id="compare.right"),
        Binding("t", "vote('tie')", "Tie", id="compare.tie"),
        Binding("x", "vote('both_bad')", "Both bad", id="compare.bad"),
        Binding("3", "vote('tie')", show=False),
        Binding("4", "vote('both_bad')", show=False),
        Binding("n", "next", "Next prompt", id="compare.next"),
        Binding("r", "again", "Ask again", id="compare.again"),
        Binding("ctrl+b", "blind", "Blind/open", priority=True, id="compare.blind"),
        Binding("b", "blind", show=False),
        Binding("escape", "stop", "Stop", show=False, id="compare.stop"),
        Binding("ctrl+l", "last_prompt", "Chat's last prompt", priority=True, show=False, id="compare.last"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.comparison: Comparison | None = None
        self.blind = False
        self.before: tuple[Exchange, ...] = ()
        self._asked: str | None = None
        self._failed = False
        self._wanted: tuple[str, str] | None = None

    def body(self) -> ComposeResult:
        """Choices, prompt, heads, columns, verdict."""
        with Horizontal(id="sides"):
            yield Select([(BASE, BASE)], value=BASE, allow_blank=False, compact=True, id="left-adapter")
            yield Static("against", id="against")
            yield Select([(BASE, BASE)], value=BASE, allow_blank=False, compact=True, id="right-adapter")
            yield Static("", id="blindness", markup=False)
        yield Question(id="question")
        with Horizontal(id="heads"):
            yield ColumnHead(0)
            yield ColumnHead(1)
        yield Static(Content(TEACH), id="compare-teach", markup=False)
        yield Answers(id="answers")
        yield Static("", id="verdict", markup=False)

    # typed access

    @property
    def question(self) -> Question:
        """The prompt."""
        return self.query_one(Question)

    @property
    def heads(self) -> tuple[ColumnHead, ColumnHead]:
        """Names and figures."""
        left, right = self.query(ColumnHead)
        return left, right

    @property
    def columns(self) -> tuple[ReplyColumn, ReplyColumn]:
        """The replies."""
        left, right = self.query(ReplyColumn)
        return left, right

    @property
    def pair(self) -> tuple[str, str]:
        """The chosen adapters, left and right."""
        left, right = (str(self.query_one(f"#{side}-adapter", Select).value) for side in ("left", "right"))
        return left, right

    @property
    def busy(self) -> bool:
        """True while replies are coming."""
        return self._asked is not None

    @property
    def complete(self) -> bool:
        """True once both replies stand whole and can be voted on."""
        comparison = self.comparison
        return comparison is not None and not self.busy and not self._failed and all(comparison.ended)

    # what there is to compare

    def on_mount(self) -> None:
        """Offer what there is."""
        self._show_blindness()
        self.offer()

    def on_adapters_changed(self, message: AdaptersChanged) -> None:
        """Another version can be compared."""
        self.offer()

    def on_store_opened(self, message: StoreOpened) -> None:
        """Earlier votes are known."""
        self.offer()

    def on_prompt_handed_over(self, message: PromptHandedOver) -> None:
        """Another screen asks for a comparison: ask at once, after what was said in the chat before."""
        self.question.put(message.prompt)
        self.action_again()

    @background("offer")
    async def offer(self) -> None:
        """Fill the choices: the base and every version; at first the base against what is in use."""
        registry = self.llama.workspace.registry
        versions = [lineage.address for lineage in await asyncio.to_thread(registry.all)]
        wanted, self._wanted = self._wanted, None
        for place, side in enumerate(("left", "right")):
            self._offer(side, versions, wanted[place] if wanted else None)
        if not wanted and self.pair == (BASE, BASE) and versions:
            right = self.llama.adapter if self.llama.adapter in versions else versions[-1]
            self.query_one("#right-adapter", Select).value = right
        self._say("" if versions else ALONE)
        await self._show_tally()

    def _offer(self, side: str, versions: list[str], wanted: str | None) -> None:
        choice = self.query_one(f"#{side}-adapter", Select)
        value = wanted if wanted is not None else choice.value
        options = [(render.text(render.line(each, 60)), each) for each in (BASE, *versions)]
        with self.prevent(Select.Changed):
            choice.set_options(options)
            choice.value = value if value in (BASE, *versions) else BASE

    def choose(self, left: str, right: str) -> None:
        """Compare these two from now on."""
        self._wanted = (left, right)
        self.offer()
        self.question.focus()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Another pair has other votes."""
        event.stop()
        self.show_tally()

    # asking

    def on_question_asked(self, message: Question.Asked) -> None:
        """Enter in the prompt."""
        self.action_again()

    def action_again(self) -> None:
        """Ask what stands in the prompt, unless replies are still coming."""
        if self.busy:
            self.llama.notify("Replies are still coming. escape stops them.", severity="warning")
        elif self.question.text.strip():
            self.ask()

    @background("ask")
    async def ask(self) -> None:
        """Stream both replies to their end."""
        prompt = self.question.text.strip()
        if not prompt or not self.llama.opened.is_set() or not (allowed := await self._allowed(prompt)):
            return
        chat = self.llama.chat
        dialog = chat.dialog(self.before, prompt, tags_allowed=allowed == "tags")
        comparison = self.comparison = Comparison(dialog, self.pair, self.blind)
        self._begin(comparison)
        try:
            if await self._load(comparison):
                async for event in comparison.ask(self.llama.client, chat.sampling, id=self._asked):
                    self._take(event)
        except LlamaTuiError as error:
            self._fail(Failure.of(error))
        finally:
            self._asked = None
        self._ended()

    async def _allowed(self, prompt: str) -> str:
        """`plain`, `tags` where the person sends tags knowingly, else nothing."""
        tags = self.llama.client.tags_in(prompt)
        if not tags:
            return "plain"
        question = f"The prompt holds {' and '.join(tags)}, which Llama 2 reads as the end or start of a turn."
        answer = await self.app.push_screen_wait(Confirm("Send it all the same?", question, yes="Send", no="Go back"))
        return "tags" if answer is True else ""

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
        self._asked, self._failed = self.llama.client.next_id(), False
        self.add_class("-asked")
        for column, head, adapter in zip(self.columns, self.heads, comparison.columns, strict=True):
            column.clear()
            head.begin(adapter, comparison.blind)
        self.question.asked = self.question.text
        self._say("The replies are coming. escape stops them.")
        answers = self.query_one(Answers)
        answers.begin()
        answers.focus()

    def _take(self, event: AnyEvent) -> None:
        match event:
            case Prefilled():
                self._prefilled(event)
            case Token(text=text, column=column, tokens=tokens):
                self.columns[column].reply.feed(text)
                self.heads[column].count(tokens)
                self.heads[column].draw()
                self.query_one(Answers).follow()
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
            self._say(f"{IN_TURN} escape stops them.")
        if event.dropped_exchanges:
            self._say(f"The prompt is long: the oldest {event.dropped_exchanges} exchanges were left out.")

    def _fail(self, failure: Failure, column: int | None = None) -> None:
        self._failed = True
        for place in range(2) if column is None else (column,):
            self.columns[place].fail(failure)

    def _ended(self) -> None:
        comparison = self.comparison
        if self._failed or comparison is None:
            self._say("There is nothing to vote on. r asks again, n starts another prompt.")
        else:
            same = comparison.replies[0].strip() == comparison.replies[1].strip()
            self._say(
                ("The replies are identical. " if same else "")
                + ("They were written in turn. " if comparison.in_turn else "")
                + "Which is better?  ← left · → right · t tie · x both bad"
            )
        self.refresh_bindings()

    async def action_stop(self) -> None:
        """Stop the replies; what has come can be voted on. Otherwise leave the prompt; never go into it: keys vote."""
        if self._asked is not None:
            await self.llama.client.cancel(self._asked)
        elif self.question.has_focus and self.comparison is not None:
            self.query_one(Answers).focus()
        else:
            self.llama.clear_notifications()

    # voting

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is in the footer."""
        match action:
            case "vote":
                return (
                    self.is_mounted and self.complete and self.comparison is not None and self.comparison.vote is None
                )
            case "stop":
                return True
            case "next" | "again":
                return self.comparison is not None and not self.busy
        return True

    @background("vote")
    async def action_vote(self, choice: str) -> None:
        """Save the vote, name the columns, show the tally. Left or right also makes a preference pair."""
        comparison = self.comparison
        if comparison is None or not self.complete or comparison.vote is not None:
            return
        vote = Vote(choice)
        try:
            await comparison.cast(self.llama.workspace.store, vote)
        except LlamaTuiError:
            comparison.vote = None
            raise
        for place, head in enumerate(self.heads):
            head.reveal(winner=vote is (Vote.LEFT, Vote.RIGHT)[place])
        self.llama.tell(CorpusChanged())
        await self._show_tally()
        self.refresh_bindings()

    @background("tally")
    async def show_tally(self) -> None:
        """The votes between the chosen two."""
        await self._show_tally()

    async def _show_tally(self) -> None:
        if not self.llama.opened.is_set():
            return
        left, right = self.pair
        votes = await asyncio.to_thread(counted, self.llama.workspace.store, left, right)
        comparison = self.comparison
        if comparison is not None and comparison.vote is not None:
            self._say(Content(f"{chosen(comparison)} ") + told(votes) + Content("  n: next prompt"))
        elif not self.busy and comparison is None and left != right:
            self._say(told(votes))

    def action_next(self) -> None:
        """Another prompt for the same two."""
        self.before = ()
        self.question.put("")
        self.question.focus()

    def action_blind(self) -> None:
        """Hide or show the names of the next comparison."""
        self.blind = not self.blind
        self._show_blindness()

    def action_last_prompt(self) -> None:
        """The chat's last prompt, with what was said before it."""
        chat = self.llama.chat
        if chat.last is None:
            self.llama.notify("The chat has no prompt yet.", severity="warning")
            return
        self.before = chat.branch[:-1]
        self.question.put(chat.last.prompt)
        self.question.focus()
        if self.before:
            self._say(f"Asked after the {len(self.before)} exchanges before it in the chat; n starts without them.")

    def on_descendant_focus(self) -> None:
        """Another key may change blind and open here."""
        self._show_blindness()

    def on_resize(self) -> None:
        """Fewer words on a narrow terminal."""
        self.set_class(self.size.width < 100, "-narrow")

    def _show_blindness(self) -> None:
        words = "blind: named after the vote" if self.blind else "open"
        told = f"  {self._blind_key()} changes it"
        self.query_one("#blindness", Static).update(Content.assemble((words, "bold"), (told, "dim")))

    def _blind_key(self) -> str:
        """The shortest key that works where the focus is; the prompt takes plain letters for itself."""
        bindings = [active.binding for active in self.active_bindings.values() if active.binding.action == "blind"]
        keys = [self.app.get_key_display(binding) for binding in bindings]
        return min(keys, key=len, default="ctrl+b")

    def _say(self, words: str | Content) -> None:
        content = render.text(words) if isinstance(words, str) else words
        self.query_one("#verdict", Static).update(content)


async def compare_on(app: LlamaTuiApp, left: str, right: str) -> None:
    """Go to the Compare screen with these two chosen."""
    await app.switch_mode("compare")
    screen = app.screen
    if isinstance(screen, CompareScreen):
        screen.choose(left, right)
