"""The branch on the screen: at most fifty exchanges are mounted, whatever its length. One may be selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from corpora.dialog import Exchange
from tui.widgets.exchange import ExchangeView

MOUNTED = 50
STEP = 20


class More(Static):
    """Says how many exchanges are above or below the mounted ones; a click shows them."""

    @dataclass
    class Asked(Message):
        """The person wants to see more; `earlier`: those above."""

        earlier: bool

    def __init__(self, *, earlier: bool, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self.earlier = earlier
        self.display = False

    def say(self, count: int) -> None:
        """How many there are."""
        self.display = count > 0
        arrow, word = ("↑", "earlier") if self.earlier else ("↓", "later")
        self.update(Content(f"{arrow} {count} {word} exchange{'s' if count != 1 else ''}"))

    def on_click(self) -> None:
        """Show more."""
        self.post_message(self.Asked(self.earlier))


class Conversation(VerticalScroll):
    """Exchanges from the first to the last, the newest in view.

    `target` is what keep, correct and the like act on: the selected exchange, else the last.
    """

    BINDINGS = [
        Binding("k", "screen.select(-1)", "Previous", show=False, id="conversation.previous"),
        Binding("j", "screen.select(1)", "Next", show=False, id="conversation.next"),
        Binding("left", "screen.version(-1)", "Version", show=False, id="conversation.version_before"),
        Binding("right", "screen.version(1)", "Version", show=False, id="conversation.version_after"),
        Binding("y", "screen.copy", "Copy", show=False, id="conversation.copy"),
        Binding("home", "to_first", "First", show=False, id="conversation.first"),
    ]

    def __init__(self, **options: str) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._branch: list[Exchange] = []
        self._first = 0
        self._selected: int | None = None
        self._loading = False

    def compose(self) -> ComposeResult:
        """What says that there is more; exchanges come between."""
        yield More(earlier=True, id="earlier")
        yield More(earlier=False, id="later")

    @property
    def views(self) -> list[ExchangeView]:
        """What is mounted, the oldest first."""
        return list(self.query_children(ExchangeView))

    @property
    def target(self) -> ExchangeView | None:
        """The selected exchange, else the last."""
        views = self.views
        chosen = [view for view in views if view.exchange.id == self._selected]
        if chosen:
            return chosen[0]
        return views[-1] if views and not self.after else None

    @property
    def after(self) -> int:
        """How many exchanges of the branch are below the mounted ones."""
        return len(self._branch) - self._first - len(self.views)

    @property
    def selected(self) -> bool:
        """True where a person has selected an exchange."""
        return self._selected is not None

    def view(self, exchange_id: int) -> ExchangeView | None:
        """The view of one exchange, where it is mounted."""
        return next((view for view in self.views if view.exchange.id == exchange_id), None)

    async def show(self, branch: Sequence[Exchange]) -> None:
        """Show a branch; what stays the same keeps its place."""
        known = [exchange.id for exchange in self._branch]
        same = next((i for i, (a, b) in enumerate(zip(known, branch, strict=False)) if a != b.id), None)
        same = min(len(known), len(branch)) if same is None else same
        with self.app.batch_update():
            if same <= self._first or self.after:
                await self.remove_children(ExchangeView)
                self._first = max(0, len(branch) - STEP)
                same = self._first
            else:
                await self.remove_children(self.views[same - self._first :])
                self._refresh_known(branch)
            self._branch = list(branch)
            await self.mount_all([ExchangeView(exchange) for exchange in branch[same:]], before="#later")
        self._say_more()
        self.clear_selection()
        self.anchor()

    async def begin(self, before: Sequence[Exchange], exchange: Exchange) -> ExchangeView:
        """Make room for a reply to come, after the exchanges before it."""
        await self.show(before)
        view = ExchangeView(exchange, live=True)
        self._branch.append(exchange)
        if len(self.views) >= MOUNTED:
            self._first += STEP
            await self.remove_children(self.views[:STEP])
        await self.mount(view, before=self.query_one("#later"))
        self._say_more()
        self.anchor()
        return view

    def replace(self, exchange: Exchange) -> None:
        """An exchange of the branch has changed."""
        self._branch = [exchange if known.id == exchange.id else known for known in self._branch]
        if (view := self.view(exchange.id)) is not None and not view.live:
            view.show(exchange)

    def _refresh_known(self, branch: Sequence[Exchange]) -> None:
        now = {exchange.id: exchange for exchange in branch}
        for view in self.views:
            if not view.live and now.get(view.exchange.id, view.exchange) != view.exchange:
                view.show(now[view.exchange.id])

    # earlier exchanges

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """At the top, show more."""
        super().watch_scroll_y(old_value, new_value)
        if new_value <= 0 < old_value:
            self.show_earlier()

    async def on_more_asked(self, event: More.Asked) -> None:
        """A line above or below was clicked."""
        event.stop()
        if event.earlier:
            self.show_earlier()
        else:
            await self.show(self._branch)

    def show_earlier(self) -> None:
        """Mount some more exchanges above; the newest ones go where there are too many."""
        if self._first > 0 and not self._loading:
            self._loading = True
            self._mount_earlier()

    @work
    async def _mount_earlier(self) -> None:
        try:
            views = self.views
            start = max(0, self._first - STEP)
            more = [ExchangeView(exchange) for exchange in self._branch[start : self._first]]
            excess = views[MOUNTED - len(more) :]
            self.release_anchor()
            with self.app.batch_update():
                if not any(view.live for view in excess):
                    await self.remove_children(excess)
                await self.mount_all(more, before=views[0] if views else "#later")
            self._first = start
            self._say_more()
            self.call_after_refresh(self._stay_at, views[0] if views else None)
        finally:
            self._loading = False

    def _stay_at(self, view: ExchangeView | None) -> None:
        if view is not None and view.is_mounted:
            self.scroll_to(y=view.virtual_region.y, animate=False)

    def _say_more(self) -> None:
        self.query_one("#earlier", More).say(self._first)
        self.query_one("#later", More).say(self.after)

    def action_to_first(self) -> None:
        """To the top, where more is shown."""
        self.scroll_home(animate=False)
        self.show_earlier()

    # selection

    def select(self, step: int) -> None:
        """Select the exchange before or after; after the last, none."""
        views = self.views
        if not views:
            return
        ids = [view.exchange.id for view in views]
        place = ids.index(self._selected) if self._selected in ids else len(ids)
        place = place + step
        if place < 0:
            self.show_earlier()
            return
        if place >= len(ids):
            self.clear_selection()
            self.anchor()
            return
        self.mark(ids[place])
        views[place].scroll_visible(animate=False)

    def clear_selection(self) -> None:
        """Back to the last exchange."""
        self.mark(None)

    def go_to(self, exchange_id: int) -> None:
        """Select one exchange and bring it into view."""
        self.mark(exchange_id)
        if (view := self.view(exchange_id)) is not None:
            self.release_anchor()
            self.call_after_refresh(view.scroll_visible, animate=False)

    def mark(self, exchange_id: int | None) -> None:
        """Select one exchange, or none."""
        self._selected = exchange_id
        for view in self.views:
            view.set_class(view.exchange.id == exchange_id, "-selected")
