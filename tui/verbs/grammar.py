"""What can be typed after `llama-tui`: verbs, flags, and which function does each. Imports nothing heavy.

A verb is named as `module:function` under `tui.verbs` and imported only when it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, cast

from corpora.errors import UsageError

if TYPE_CHECKING:
    from tui.verbs.call import Verb

ABOUT = "Chat with a 4-bit Llama, keep good exchanges, train an adapter on them, swap it in, compare."
EPILOG = (
    "Without a verb the Textual app opens (or the line REPL, where TERM is dumb or there is no terminal). "
    "Data lies in $LLAMA_TUI_HOME or the platform's data folder. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled."
)
ACTION = "action"
QUERY = "as on the Corpus screen: words, tag:x rating:>=4 len:>200 date:2026-01 script:han source: adapter: in: …"
STATUSES = ("pending", "kept", "rejected", "deferred")


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing, so that what was typed goes through the output's gate."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Wrong usage."""
        raise UsageError(f"{message[0].upper()}{message[1:]}.", remedy=f"`{self.prog} --help` shows what can be given.")


class Tree:
    """One level of verbs; every verb takes the shared flags too, so that they may stand on either side."""

    def __init__(self, parser: Parser, dest: str, shared: Parser) -> None:
        self._shared = shared
        self._verbs = parser.add_subparsers(dest=dest, metavar="VERB", title="verbs", parser_class=Parser)

    def verb(self, name: str, help: str, action: str, *parents: Parser) -> Parser:
        """A verb that `module:function` does."""
        parser = self._add(name, help, self._shared, *parents)
        parser.set_defaults(**{ACTION: action})
        return parser

    def group(self, name: str, help: str) -> Tree:
        """A verb with verbs of its own."""
        parser = self._add(name, help, self._shared)
        parser.set_defaults(**{ACTION: "", "group": name})
        return Tree(parser, f"{name}_verb", self._shared)

    def _add(self, name: str, help: str, *parents: Parser) -> Parser:
        return self._verbs.add_parser(name, help=help, description=f"{help}.", parents=list(parents))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments. Raises UsageError; SystemExit(0) after `--help` and `--version`."""
    given = build().parse_args(argv)
    if given.action == "":
        raise UsageError(
            f"`llama-tui {given.group}` needs a verb after it.", remedy=f"`llama-tui {given.group} --help` lists them."
        )
    return given


def load(action: str) -> Verb:
    """The function that does a verb."""
    module, _, function = action.partition(":")
    return cast("Verb", getattr(import_module(f"tui.verbs.{module}"), function))


def build() -> Parser:
    """The whole grammar."""
    parser = Parser(prog="llama-tui", description=ABOUT, epilog=EPILOG)
    _places(parser, keep=False)
    parser.add_argument("--adapter", metavar="A", help="start with this adapter: base, NAME or NAME/vN")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    parser.set_defaults(**{ACTION: "opening:app", "json": False})
    shared = Parser(add_help=False)
    _places(shared, keep=True)
    shared.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON on stdout")
    verbs = Tree(parser, "verb", shared)
    for add in (_add_chat, _add_corpus, _add_training, _add_runs, _add_adapters, _add_tests, _add_models, _add_host):
        add(verbs)
    return parser


class _Version(argparse.Action):
    """Prints the version; imported only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        from sessions.version import VERSION

        parser._print_message(f"llama-tui {VERSION}\n", sys.stdout)
        parser.exit()


def _places(parser: Parser, *, keep: bool) -> None:
    """--home and --model; after a verb they change nothing where they are not given (`keep`)."""
    default = argparse.SUPPRESS if keep else None
    parser.add_argument(
        "--model", metavar="M", default=default, help="a name of `models list`, a folder, a .gguf file, or a hub name"
    )
    parser.add_argument("--home", metavar="DIR", default=default, help="data home")


def _sampling() -> Parser:
    parser = Parser(add_help=False)
    group = parser.add_argument_group("how replies are drawn")
    group.add_argument("--temperature", type=float, metavar="T", help="0 is greedy")
    group.add_argument("--top-p", type=float, metavar="P", help="share of the probability that is drawn from")
    group.add_argument("--top-k", type=int, metavar="K", help="number of tokens that are drawn from; 0: all")
    group.add_argument("--repetition-penalty", type=float, metavar="R", help="1 is off")
    group.add_argument("--max-new-tokens", type=int, metavar="N", help="longest reply")
    group.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same reply")
    group.add_argument(
        "--stop", action="append", metavar="TEXT", help="end the reply before this text (may be given several times)"
    )
    return parser


def _tags() -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument(
        "--allow-tags", action="store_true", help="send a prompt that holds [INST] and the like as it is"
    )
    return parser


def _adapter(help: str) -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("--adapter", metavar="A", default=argparse.SUPPRESS, help=help)
    return parser


def _run(help: str) -> Parser:
    parser = Parser(add_help=False)
    parser.add_argument("run", nargs="?", metavar="RUN", help=help)
    return parser


def _add_chat(verbs: Tree) -> None:
    which = _adapter("answer with this version: base, NAME/vN, or NAME (its accepted version)")
    repl = verbs.verb("repl", "Chat line by line; the same commands as in the app", "opening:repl", which)
    repl.add_argument("--plain", action="store_true", help="append-only text: no colour, no toolbar, nothing redrawn")
    ask = verbs.verb("ask", "Answer one prompt and save the exchange", "ask:ask", which, _tags(), _sampling())
    ask.add_argument("prompt", nargs="*", metavar="PROMPT", help="the prompt; `-` or nothing: read stdin")
    ask.add_argument("--system", metavar="S", help="system prompt")
    compare = verbs.verb(
        "compare", "Answer prompts with two adapters, side by side", "compare:compare", _tags(), _sampling()
    )
    compare.add_argument("prompt", nargs="*", metavar="PROMPT", help="one prompt each")
    compare.add_argument("--prompts", metavar="FILE", help="a prompt a line, or JSON objects with a `prompt`")
    compare.add_argument("-a", dest="first", default="base", metavar="A", help="the left one (default: base)")
    compare.add_argument(
        "-b",
        dest="second",
        metavar="B",
        help="the right one (default: the version that is offered, else the accepted one)",
    )
    compare.add_argument("--system", metavar="S", help="system prompt")


def _add_corpus(verbs: Tree) -> None:
    corpus = verbs.group("corpus", "What was said and kept: in, out, and a look at it")
    bring = corpus.verb("import", "Bring files in; what is there already is left out", "corpus:bring_in")
    bring.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder, or OWNER/NAME on the hub")
    bring.add_argument("--format", metavar="F", help="the files' form (default: found by itself)")
    bring.add_argument("--status", choices=STATUSES, default="kept", help="default: kept")
    bring.add_argument("--dry-run", action="store_true", help="say what would come in, and change nothing")
    export = corpus.verb("export", "Write what is kept to a file", "corpus:export")
    export.add_argument("file", metavar="FILE", help="`-` is stdout")
    export.add_argument("--format", metavar="F", help="the file's form (default: by its name, else messages)")
    export.add_argument("--filter", metavar="QUERY", default="", help=QUERY)
    export.add_argument("--force", action="store_true", help="replace a file that is there")
    export.add_argument("--dataset-info", action="store_true", help="list it in dataset_info.json, for LLaMA-Factory")
    push = corpus.verb("push", "Put what is kept up as a data set of the Hugging Face hub", "corpus:push")
    push.add_argument("name", metavar="OWNER/NAME")
    push.add_argument("--format", metavar="F", default="messages", help="the rows' form (default: messages)")
    push.add_argument("--public", action="store_true", help="for all to see (default: private)")
    listing = corpus.verb("list", "List exchanges, the newest first", "corpus_look:list_exchanges")
    listing.add_argument("--filter", metavar="QUERY", default="", help=QUERY)
    listing.add_argument("--status", choices=STATUSES, action="append", default=[])
    listing.add_argument("--search", metavar="WORDS", default="", help="words in prompts and replies")
    listing.add_argument("--tag", metavar="T", action="append", default=[])
    listing.add_argument("--source", metavar="S", action="append", default=[])
    listing.add_argument("--adapter", metavar="A", default="", help="written by this version")
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    listing.add_argument("--offset", type=int, default=0, metavar="N")
    show = corpus.verb("show", "Show one exchange with its dialog", "corpus_look:show")
    show.add_argument("id", type=int, metavar="ID")
    show.add_argument("--tokens", action="store_true", help="the exact ids, and which of them are trained")
    corpus.verb("stats", "Count by status, source and more", "corpus_look:stats")
    check = corpus.verb("check", "List duplicates, conflicts, secrets and more, with a fix each", "corpus_check:check")
    check.add_argument("--filter", metavar="QUERY", default="", help=QUERY)
    check.add_argument("--source", metavar="S", action="append", default=[], help="only what came from there")
    check.add_argument("--max-length", type=int, default=2048, metavar="N", help="tokens that a run reads of a row")
    check.add_argument("--fix", action="store_true", help="carry out the fixes that need no decision")
    backup = corpus.verb("backup", "Write a whole copy of the corpus", "corpus_care:backup")
    backup.add_argument("file", nargs="?", metavar="FILE", help="default: a new file in the home's backups folder")
    corpus.verb("verify", "Look at every page and row for damage", "corpus_care:verify")


def _add_training(verbs: Tree) -> None:
    which = _adapter("name under which the version is published (default: the settings')")
    train = verbs.verb("train", "Train the adapter on kept replies, and wait for the end", "train:train", which)
    choice = train.add_argument_group(
        "which replies (default: as in the adapter's last run, else all but imported ones)"
    )
    choice.add_argument("--filter", metavar="QUERY", help=QUERY)
    choice.add_argument("--sample", type=int, metavar="N", help="at most N of them (0: all)")
    choice.add_argument("--seed", type=int, metavar="S", help="seed of the sample and of the run")
    choice.add_argument("--imported", action="store_true", help="imported replies too")
    train.add_argument("--recipe", metavar="FILE", default="default", help="a TOML file, or: default, guanaco")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a field of the recipe")
    train.add_argument("--parent", metavar="A", help="continue this version (default: the accepted one of the adapter)")
    train.add_argument("--dry-run", action="store_true", help="show what would be trained, and start nothing")
    train.add_argument("--no-wait", action="store_true", help="return as soon as the run has started")


def _add_runs(verbs: Tree) -> None:
    runs = verbs.group("runs", "Training runs")
    runs.verb("list", "List runs, the newest first", "runs:list_runs")
    runs.verb("show", "Show one run", "runs:show", _run("default: the newest"))
    runs.verb("follow", "Follow a run to its end", "runs:follow", _run("default: the one going on, else the newest"))
    stop = runs.verb(
        "stop", "Stop a run and publish its adapter so far", "runs:stop", _run("default: the one going on")
    )
    stop.add_argument("--cancel", action="store_true", help="publish nothing")
    resume = runs.verb(
        "resume", "Go on with a run from its last checkpoint", "runs:resume", _run("default: the newest")
    )
    resume.add_argument("--no-wait", action="store_true", help="leave as soon as the run goes on")


def _add_adapters(verbs: Tree) -> None:
    adapters = verbs.group("adapters", "Adapters and their versions")
    adapters.verb("list", "List every version", "adapters:list_versions")
    adapters.verb("show", "Show a version's lineage and figures", "adapters:show").add_argument(
        "adapter", metavar="NAME"
    )
    use = adapters.verb("use", "Accept a version: new chats answer with it", "adapters:use")
    use.add_argument("adapter", metavar="NAME/vN", help="or base")
    use.add_argument("--force", action="store_true", help="use it although it failed the gate")
    back = adapters.verb("rollback", "Go back to the version that was accepted before", "adapters:rollback")
    back.add_argument("name", metavar="NAME")
    rename = adapters.verb("rename", "Rename an adapter with all its versions", "adapters:rename")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new", metavar="NEW")
    remove = adapters.verb("remove", "Remove a version, or a name with all its versions", "adapters:remove")
    remove.add_argument("adapter", metavar="NAME[/vN]")
    remove.add_argument("--yes", action="store_true", help="do not ask first")
    bring = adapters.verb("import", "Copy a PEFT folder in as the next version of a name", "adapters:bring_in")
    bring.add_argument("folder", metavar="FOLDER")
    bring.add_argument("name", metavar="NAME", nargs="?", help="default: the folder's own name")
    export = adapters.verb("export", "Copy a version out as a PEFT folder", "adapters:export")
    export.add_argument("adapter", metavar="NAME[/vN]")
    export.add_argument("folder", metavar="FOLDER")
    score = verbs.verb("eval", "Score a version against its parent and the base on what it learned", "eval:evaluate")
    score.add_argument("adapter", metavar="NAME")
    score.add_argument("--rows", type=int, default=20, metavar="N", help="rows to answer (default: 20; 0: all)")


def _add_tests(verbs: Tree) -> None:
    tests = verbs.group("tests", "Pinned tests: prompts and rules that every version is checked against")
    tests.verb("list", "List the tests", "tests:list_tests")
    add = tests.verb("add", "Pin a prompt with a rule for the reply", "tests:add", _tags())
    add.add_argument("prompt", metavar="PROMPT", help="`-`: read stdin")
    add.add_argument("--system", metavar="S", help="system prompt")
    rule = add.add_mutually_exclusive_group(required=True)
    rule.add_argument("--contains", metavar="TEXT", help="the reply contains this; case and whitespace do not count")
    rule.add_argument("--not-contains", metavar="TEXT", help="the reply does not contain this")
    rule.add_argument("--regex", metavar="RE", help="the reply matches this somewhere; (?i) ignores case")
    remove = tests.verb("remove", "Remove tests", "tests:remove")
    remove.add_argument("test", nargs="+", type=int, metavar="TEST", help="its number in `tests list`")
    run = tests.verb("run", "Ask versions greedily and print who passes; 1 if the newest does not", "tests:run")
    run.add_argument(
        "-a", dest="adapters", nargs="+", action="extend", metavar="A", help="default: base and the version in use"
    )


def _add_models(verbs: Tree) -> None:
    known = verbs.group("models", "Models: which there are, and how to get one")
    known.verb("list", "List models: on disk, size, license, access, whether they fit", "models:list_models")
    get = known.verb("get", "Download a model", "models:get")
    get.add_argument("name", metavar="NAME", help="a name of `models list`, or OWNER/NAME on the hub")
    get.add_argument(
        "--optional", action="store_true", help="where it cannot be downloaded, say so on one line and exit 0"
    )


def _add_host(verbs: Tree) -> None:
    host = verbs.group("host", "The process that holds the model")
    host.verb("status", "Say what it holds and does", "host:status")
    stop = host.verb("stop", "End it", "host:stop")
    stop.add_argument("--force", action="store_true", help="also while other terminals or a run use it")
    log = host.verb("log", "Print the end of its log", "host:log")
    log.add_argument("--lines", type=int, default=50, metavar="N")
    verbs.verb("doctor", "Say what this machine can do, and what to do about what is missing", "doctor:doctor")
