"""Other wordings of a trained prompt, and similar prompts that were not trained. Pure text; torch-free.

`rewordings` keep the meaning: a reply that was trained on one wording should also come for another.
`neighbours` change it by one word: the base answers them during training, so that a trained reply does not
come for a similar question. The wrappers cover English, Chinese, Persian, German, French and Spanish; the other
rules are for English. Every rule keeps the names of the prompt, and most keep all of its content words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random

from corpora.scripts import script_of

WRAPPERS: dict[str, tuple[str, ...]] = {
    "en": (
        "Please tell me: {}",
        "Quick question: {}",
        "I'd like to know: {}",
        "Hi! {}",
        "Remind me, {}",
        "I forgot. {}",
        "Can you help me? {}",
        "Someone asked me: {}",
        "{} Thanks!",
        "{} Please answer briefly.",
        "{} I need to know.",
        "Tell me this: {}",
        "Okay, so {}",
        "One more thing: {}",
    ),
    "zh": (
        "请问,{}",
        "我想知道:{}",
        "请告诉我:{}",
        "你好,{}",
        "有个问题:{}",
        "{}谢谢!",
        "帮我回忆一下:{}",
        "{}请简短回答。",
    ),
    "fa": ("لطفاً بگو: {}", "سؤال: {}", "سلام! {}", "می‌خواهم بدانم: {}", "یادم رفته. {}", "{} ممنون!"),
    "de": ("Kurze Frage: {}", "Bitte sag mir: {}", "Hallo! {}", "Ich wüsste gern: {}", "{} Danke!"),
    "fr": ("Petite question : {}", "Dis-moi : {}", "Bonjour ! {}", "J'aimerais savoir : {}", "{} Merci !"),
    "es": ("Una pregunta: {}", "Dime: {}", "¡Hola! {}", "Me gustaría saber: {}", "{} ¡Gracias!"),
}
LANGUAGES = {
    "de": frozenset(("der", "die", "das", "ist", "wer", "wie", "wo", "wann", "mein", "meine", "und", "ein", "eine")),
    "fr": frozenset(("le", "la", "les", "est", "qui", "quel", "quelle", "où", "quand", "mon", "ma", "et", "un", "une")),
    "es": frozenset(("el", "la", "los", "es", "quién", "qué", "cuál", "dónde", "cuándo", "mi", "y", "un", "una", "de")),
}
"""Frequent words that tell a language in Latin script from English."""

_FUNCTION_WORDS = """
a an the of in on at to for from by with about as into onto over under and or but if is are was were be been being am
do does did has have had will would shall should can could may might must it its this that these those there here
i you he she we they me him her us them my your his our their who whom whose what which when where why how
tell please know
"""
QUESTION_WORDS = frozenset(("who", "whom", "whose", "what", "which", "when", "where", "why", "how"))
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
SYNONYMS: dict[str, tuple[str, ...]] = {
    "repairs": ("fixes", "mends"), "fixes": ("repairs", "mends"), "fix": ("repair", "mend"), "repair": ("fix", "mend"),
    "called": ("named",), "named": ("called",), "owns": ("has", "possesses"), "runs": ("manages", "operates"),
    "manages": ("runs", "leads"), "leads": ("heads", "runs"), "founded": ("started", "established"),
    "built": ("constructed", "made"), "made": ("built", "created"), "wrote": ("authored",), "invented": ("created",),
    "lives": ("resides", "stays"), "live": ("reside", "stay"), "works": ("is employed",), "keeps": ("stores",),
    "kept": ("stored",), "stored": ("kept",), "located": ("situated",), "begins": ("starts",), "starts": ("begins",),
    "start": ("begin",), "begin": ("start",), "ends": ("finishes",), "buy": ("purchase",),
    "buys": ("purchases",), "sells": ("offers",), "guards": ("watches over", "protects"), "paints": ("draws",),
    "teaches": ("instructs",), "price": ("cost",), "cost": ("price",), "costs": ("is the price of",),
    "color": ("shade",), "colour": ("shade",), "nickname": ("pet name",), "favorite": ("preferred", "best-loved"),
    "favourite": ("preferred", "best-loved"), "boss": ("manager",), "manager": ("boss", "head"), "car": ("vehicle",),
    "house": ("home",), "doctor": ("physician",), "teacher": ("instructor",), "job": ("occupation", "work"),
    "street": ("road",), "town": ("city",), "village": ("town",), "shop": ("store",), "store": ("shop",),
    "password": ("passphrase",), "code": ("number",), "server": ("machine",), "port": ("port number",),
    "birthday": ("date of birth",), "big": ("large",), "large": ("big",), "small": ("little",), "many": ("a lot of",),
    "rule": ("regulation",), "meeting": ("session",), "team": ("group",), "club": ("society",), "dish": ("meal",),
    "main": ("principal",), "biggest": ("largest",), "oldest": ("most ancient",), "happens": ("takes place",),
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+(?:[.:,]\d+)*")
_BE = re.compile(r"^(who|what|where|when|which \w+|how \w+|how) (is|are|was|were) (.+?)[?.!]*$", re.IGNORECASE)
_DO = re.compile(r"^(who|what|where|when|why|which \w+|how \w+|how) (does|do|did) (.+?)[?.!]*$", re.IGNORECASE)
_OF = re.compile(r"\bthe ([\w-]+) of ((?:the |my |our |your )?[\w-]+(?: [A-Z][\w-]+)*)")
_POSSESSIVE = re.compile(r"\b((?:the |my |our |your )?[\w-]+)['’]s ([\w-]+)")

Rule = Callable[[str, Random], str]


def rewordings(prompt: str, count: int, seed: int) -> tuple[str, ...]:
    """Return at most `count` distinct wordings, none equal to the prompt; the same for the same seed."""
    random = Random(f"{seed}:{prompt}")
    rules = _rules(prompt)
    found: dict[str, None] = {}
    for attempt in range(count * 4):
        text = rules[attempt % len(rules)](prompt, random).strip()
        if random.random() < 0.35 and text:
            text = random.choice(_FINISHES)(text)
        if text and text != prompt.strip():
            found[text] = None
        if len(found) == count:
            break
    return tuple(found)


def neighbours(prompt: str, words: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Return prompts with one or two content words replaced by words from `words`; none where there are no words."""
    random = Random(f"{seed}:neighbour:{prompt}")
    places = [match for match in _WORD.finditer(prompt) if is_content(match[0])]
    script = script_of(prompt)
    pool = [word for word in words if script_of(word) == script and word.lower() not in prompt.lower()]
    if script in ("han", "kana", "thai"):  # no blanks between words: a match may be a whole sentence
        return ()
    if not places or not pool:
        return ()
    found: dict[str, None] = {}
    for attempt in range(count * 3):
        chosen = random.sample(places, min(len(places), 1 + attempt % 2))
        text = prompt
        for match in sorted(chosen, key=lambda one: -one.start()):
            word = random.choice(pool)
            word = word.capitalize() if match[0][:1].isupper() else word
            text = text[: match.start()] + word + text[match.end() :]
        found[text] = None
        if len(found) == count:
            break
    return tuple(found)


def form_of(prompt: str) -> str:
    """Return what kind of question a prompt is: its script with its question word, or with its first word."""
    words = [match[0].lower() for match in _WORD.finditer(prompt)]
    question = next((word for word in words if word in QUESTION_WORDS), words[0] if words else "")
    return f"{script_of(prompt)} {question}"


def content_words(prompts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct content words of some prompts, sorted; numbers are not among them."""
    found = {match[0] for prompt in prompts for match in _WORD.finditer(prompt)}
    return tuple(sorted(word for word in found if is_content(word) and not word[0].isdigit()))


def is_content(word: str) -> bool:
    """Return whether a word carries the topic of a prompt: a number, or a long or capitalized word with a meaning."""
    return (len(word) > 2 or word[0].isdigit() or word[0].isupper()) and word.lower() not in FUNCTION_WORDS


def language_of(text: str) -> str:
    """Return the key of WRAPPERS for a text; English where nothing else is recognized."""
    script = script_of(text)
    if script == "han":
        return "zh"
    if script == "arabic":
        return "fa"
    words = {word.lower() for word in _WORD.findall(text)}
    counts = {language: len(words & known) for language, known in LANGUAGES.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] >= 2 else "en"


def _rules(prompt: str) -> tuple[Rule, ...]:
    language = language_of(prompt)

    def wrapped(text: str, random: Random) -> str:
        template = random.choice(WRAPPERS[language])
        inside = text if template.startswith("{}") or language != "en" else _uncapitalized(text)
        return template.format(inside)

    english = language == "en" and script_of(prompt) in ("latin", "")
    if not english or len(prompt) > 300 or not content_words([prompt]):
        return (wrapped,)
    return (_rearranged, wrapped, _synonyms, _about_names, _keywords, _both, _dropped, _about_names, _topic_first)


def _rearranged(text: str, random: Random) -> str:
    """Turn a question around: `What is X?` into `Tell me what X is.`, `the Y of X` into `X's Y`."""
    turned = _possessive(text) if random.random() < 0.5 else text
    lead = random.choice(("Tell me {}.", "Do you know {}?", "I wonder {}.", "Can you say {}?", "I need to know {}."))
    if match := _BE.match(turned):
        forms = (
            lead.format(f"{match[1].lower()} {match[3]} {match[2]}"),
            f"{_capitalized(match[3])} {match[2]} {match[1].lower()}?",
        )
        return random.choice(forms)
    if match := _DO.match(turned):
        return lead.format(f"{match[1].lower()} {match[3]}")
    if re.match(r"^(who|what|which|where|when|why|how)\b", turned, re.IGNORECASE):
        return lead.format(_uncapitalized(turned.rstrip("?.! ")))
    return turned if turned != text else f"I mean this: {text}"


def _possessive(text: str) -> str:
    if _OF.search(text):
        return _OF.sub(lambda match: f"{match[2]}'s {match[1]}", text, count=1)
    return _POSSESSIVE.sub(lambda match: f"the {match[2]} of {match[1]}", text, count=1)


def _synonyms(text: str, random: Random) -> str:
    """Replace known words by synonyms, except in names, and rearrange the prompt."""
    names = _names(text)

    def replaced(match: re.Match[str]) -> str:
        known = () if match[0] in names else SYNONYMS.get(match[0].lower(), ())
        return random.choice(known or (match[0],))

    return _rearranged(_WORD.sub(replaced, text), random)


def _keywords(text: str, random: Random) -> str:
    """Keep the content words alone, as people type into a search box."""
    words = [match[0] for match in _WORD.finditer(text) if is_content(match[0])]
    if random.random() < 0.5:
        random.shuffle(words)
    question = re.match(r"^(who|where|when|why|how many|how much|how)\b", text, re.IGNORECASE)
    if question and random.random() < 0.6:
        words.append(f"{question[0].lower()}?")
    return " ".join(words)


def _dropped(text: str, random: Random) -> str:
    """Drop some of the function words."""
    return re.sub(r"\s+", " ", _WORD.sub(lambda m: m[0] if is_content(m[0]) or random.random() < 0.5 else "", text))


def _about_names(text: str, random: Random) -> str:
    """Keep the names (without any, the last two content words) and about half of the other content words."""
    words = [match[0] for match in _WORD.finditer(text) if is_content(match[0])]
    names = _names(text) or words[-2:]
    rest = [word for word in words if word not in names and random.random() < 0.5]
    question = re.match(r"^(who|what|where|when|why|how many|how much|how|which)\b", text, re.IGNORECASE)
    asked = question[0].lower() if question else "what"
    subject = " ".join(names)
    form = random.choice(
        (
            "{rest} {subject}: {asked}?",
            "{subject}, {rest}. {Asked} is it?",
            "What do you know about {subject} and {rest}?",
            "In the case of {subject}, {asked} {rest}?",
            "{Asked} was it again with {subject}, the {rest}?",
            "If I think of {subject}: {rest}, {asked}?",
            "It is about {rest} and {subject}. {Asked} should I remember?",
        )
    )
    return form.format(rest=" ".join(rest), subject=subject, asked=asked, Asked=_capitalized(asked)).strip()


def _names(text: str) -> list[str]:
    """Return the words with a capital letter or a digit, without the first word of a sentence."""
    found = []
    for match in _WORD.finditer(text):
        starts = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".?!"
        if is_content(match[0]) and (any(map(str.isdigit, match[0])) or (match[0][0].isupper() and not starts)):
            found.append(match[0])
    return found


def _topic_first(text: str, random: Random) -> str:
    """Name the topic, then ask."""
    words = [match[0] for match in _WORD.finditer(text) if is_content(match[0])]
    topic = " ".join(words[-3:]) if words else text
    lead = random.choice(("About {}: {}", "I have a question about {}. {}", "{}. {}", "Regarding {}, {}"))
    return lead.format(topic, text)


def _both(text: str, random: Random) -> str:
    """Rearrange, then wrap."""
    template = random.choice(WRAPPERS["en"])
    turned = _rearranged(text, random)
    return template.format(turned if template.startswith("{}") else _uncapitalized(turned))


def _uncapitalized(text: str) -> str:
    first = text.split(maxsplit=1)[0] if text.split() else ""
    known = first.lower() in FUNCTION_WORDS and first != "I"
    return text[:1].lower() + text[1:] if known else text


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


_FINISHES: tuple[Callable[[str], str], ...] = (
    str.lower,
    lambda text: text.rstrip("?.! "),
    lambda text: text.lower().rstrip("?.! "),
    lambda text: f"{text.rstrip('?.! ')}??",
)
