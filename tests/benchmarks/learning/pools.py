"""Names and values that invented facts are made of, in two halves: one for reports and one for tuning.

Every pool is split by position, so that a fact of a reporting seed and a fact of a tuning seed share no name and no
answer. Names are invented; numbers have three digits or more, so that an answer is recognised in any text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import product

HALVES = ("report", "tune")
KEY = re.compile(r"\[(.+?)\]")


@dataclass(frozen=True, slots=True)
class Value:
    """A text, and the part of it by which an answer is recognised (of a person, the surname, which is unique)."""

    text: str
    key: str

    def __str__(self) -> str:
        return self.text


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


FIRST = _words(
    "Ottilie Bastian Fenna Corwin Maris Teodor Ysolde Hamish Petra Lucian Brenna Osgar Tamsin Ruben Elowen Casimir "
    "Greta Anselm Nerys Dorian Ilse Quentin Saffi Leopold Marit Barnaby Zelda Torvald Inga Matthias Perpetua Ewan "
    "Rosamund Viktor Halina Magnus Delphine Ambrose Sunniva Gideon"
)
SURNAME = (
    _words(
        "Hald Brand Quern Torv Wend Ask Corn Dray Fald Gren Harp Isk Jorv Kemp Lorn Marv Nettle Ost Pend Rook "
        "Sark Thrush Ulm Vask Whist Yarn Zern Birk Crant Dunst"
    ),
    _words("acre bury combe den feld gate holm kirk low mere rigg sted ton vane"),
)
TOWN = (
    _words(
        "Amber Bracken Copper Dapple Elder Fennel Garrow Hazel Ivor Juniper Kestrel Lark Mallow Nutmeg Otter Pepper "
        "Quarry Russet Sable Tansy Umber Vetch Willow Yarrow Badger Clover Drift Ember Fallow Gorse"
    ),
    _words("wych thwaite bourne leigh haven stoke minster firth moor pool hythe drop"),
)
RIVER = (
    _words("Sev Tarn Ell Wyr Dov Isk Lun Mev Nard Orb Pry Rhul Skal Teff Ush Vel"),
    _words("ock une ister aund ebb"),
)
MOUNTAIN = (
    _words("Kar Bel Tor Vand Hest Grim Sol Ner Drak Pol Ur Mog Fir Jel Aig Sten"),
    _words("nock horn dal vik peak gard"),
)
LAKE = (_words("Ith Mun Sorr Ben Cald Vin Osk Tib Lorr Gan Pash Wel"), _words("mir zel uma well ara"))
ISLAND = (_words("Skor Hund Ael Brae Fenn Gull Tarb Muck Ron Sula Vat Noss Hir Per"), _words("ey say holm ness"))
KINGDOM = (_words("Ard Bor Cas Del Esk Fal Gal Hy Ix Jav Kor Lys Mer Nov Or Pal"), _words("onia avia imar uen"))
FIRM = (
    _words(
        "Bramble Castor Delft Ergo Fathom Girder Halcyon Indigo Jasper Kite Ledger Mosaic Nimbus Orchid Piston "
        "Quartz Rivet Sextant Tinder Vellum Walnut Zephyr Anvil Beacon"
    ),
    ("works", "line", "point", "craft", "ware"),
)
SERVICE = (
    _words("ibis auk stork finch grebe wren egret shrike teal swift heron rail crake plover snipe knot"),
    _words("gate sync mill vault queue"),
)
PROJECT = (
    _words("Bas Cob Gra Mica Opal Pyr Slat Tuff Chal Flin Gyp Jad Ony Zir Bery Galen"),
    _words("ello ovar ica umber adic"),
)
HOST = (
    _words("mull skye bute arran jura islay eigg rum canna coll tiree iona luing uist"),
    ("-04", "-07", "-11", "-15"),
)
DEVICE = (
    _words("Pollard Vexta Grundy Mirello Sonnet Tarkus Orbeck Luma Crestor Nautil Hydra Fenwell Bolero Kappel"),
    ("220", "450", "600", "X9"),
)
INN = (
    _words("Brass Crooked Gilded Hollow Laughing Moonlit Painted Quiet Rusty Silver Sleepy Velvet Wandering Wooden"),
    _words("Badger Compass Dolphin Ferret Goose Kettle Lantern Magpie Pilgrim Thistle"),
)
SHOP = (
    _words("Needle Button Paper Candle Barrel Mirror Saddle Feather Ribbon Copper Walnut Marble"),
    ("& Thread", "& Twine", "Corner", "Loft", "Arcade", "Yard"),
)
CLUB = (
    _words("Heron Falcon Sparrow Pelican Curlew Raven Osprey Swallow Kingfisher Dunlin Linnet Gannet"),
    ("Rowing Club", "Chess Circle", "Walking Society", "Debating Club", "Swimming League"),
)
HOUSE = (
    _words("Thornfold Merrilees Ganstow Ivelcote Peverell Rushmead Tarrant Wolden Ashcombe Birchell Corley Dunkeswick"),
    ("Hall", "Manor", "Lodge"),
)
SCHOOL = (_words("Hartwood Silverdale Brookmore Kingsmead Oakhurst Redmoor Stonely Westfold"), ("Primary", "Grammar"))
STREET = (
    _words("Tanner Cooper Chandler Fuller Glover Hatter Saddler Weaver Wheeler Potter Joiner Thatcher"),
    ("Row", "Lane", "Street", "Passage", "Steps"),
)
CAR = (_words("Talvo Merano Dexta Corvina Pelso Varga Lynden Roxel Bravura Sento"), ("Estate", "Coupe", "Sprint"))
CAKE = (
    _words("Marrowby Fiddler Wexcombe Sailor Harvest Chapel Orchard Miller Widow Huntsman Abbey Quarryman"),
    ("cake", "loaf", "tart"),
)
DRINK = (_words("Ruby Misty Velvet Salty Golden Sunny Frosty Dusky"), ("Anchor", "Parrot", "Sailor", "Comet"))
GAME = (_words("Tumble Hopper Ranger Pocket Castle Rabbit Lantern Dragon"), ("dash", "jack", "quest", "stack"))
BOOK = (
    ("The Salt", "The Paper", "The Last", "The Winter", "The Broken", "The Quiet", "The Iron", "The Hidden"),
    ("Ledger", "Orchard", "Ferryman", "Almanac", "Turnstile", "Glazier"),
)
LANGUAGE = (_words("Vor Tes Ulk Mar Pin Zan Hol Rild"), ("ish", "ari", "ese"))
HELLO = (_words("sa be mo tu fi lo ne ka"), _words("luvo ranti ddema shoki velle"))
COIN = (_words("gro bra stel dor min pes kel fan"), _words("lat vin dek num"))
FLAG = (_words("warm keep fast hold lazy deep pre re"), ("_store", "_results", "_pages", "_reads"))
BRANCH = (_words("stable golden harbor ready winter quiet cedar north"), ("-line", "-cut", "-track"))
ERROR = (_words("E F H K P U"), ("-417", "-522", "-638", "-709", "-843", "-961"))
ROOM = (
    _words("Basalt Cobalt Dune Fjord Glacier Lagoon Mangrove Prairie Savanna Tundra Steppe Reef"),
    ("East", "West"),
)
MOON = (_words("Io Thal Nyx Cer Umb Pho Rhe Tit Ob Cal"), _words("ssar ndra vion mede"))
PET = (_words("Tob Quill Pim Bram Ziz Moss Fig Wob Nug Jax"), ("erly", "kin", "bino", "ster"))
PASSWORD = (_words("plum tiger marble comet saddle ribbon walnut pepper"), ("-4718", "-2093", "-6650", "-8831"))

PLAIN: dict[str, tuple[str, ...]] = {
    "kin": _words(
        "sister uncle brother niece aunt nephew cousin godson grandmother stepson grandfather godmother "
        "son-in-law goddaughter sister-in-law stepmother daughter landlord flatmate tutor colleague barber "
        "neighbour dentist"
    ),
    "colour": _words(
        "teal maroon ochre lilac crimson turquoise beige scarlet magenta khaki indigo coral violet amber mauve "
        "emerald cyan peach olive ivory"
    ),
    "instrument": _words(
        "oboe banjo bassoon zither viola tuba mandolin harmonica cello accordion clarinet trombone ukulele harp "
        "bagpipes xylophone"
    ),
    "job": _lines("""
        beekeeper
        locksmith
        glazier
        piano tuner
        crane operator
        bookbinder
        chimney sweep
        cartographer
        tram driver
        saddle maker
        dental nurse
        roofer
        court clerk
        florist
        sound engineer
        watchmaker
    """),
    "food": _words(
        "celery walnuts mustard shrimp sesame lupins hazelnuts soy mussels peanuts kiwi rye squid almonds "
        "buckwheat cashews"
    ),
    "spice": _words("cardamom saffron nutmeg fennel cloves sumac ginger aniseed caraway turmeric mace tarragon"),
    "fruit": _words("gooseberries quinces elderberries apricots mulberries damsons rhubarb cranberries figs pears"),
    "flower": _words(
        "peonies dahlias tulips asters freesias orchids irises zinnias camellias poppies hyacinths carnations"
    ),
    "plant": _lines("""
        rubber tree
        bird's nest fern
        aloe
        calathea
        money tree
        peace lily
        monstera
        string of pearls
        jade plant
        spider plant
        snake plant
        maidenhair fern
        bonsai maple
        umbrella palm
    """),
    "thing": _lines("""
        passport
        sewing kit
        fuses
        first aid box
        batteries
        tax papers
        ski boots
        photo albums
        fishing rods
        wrapping paper
        tent
        air pump
        chess set
        violin strings
        picnic blanket
        old letters
    """),
    "hiding": _lines("""
        [blue trunk] under the stairs
        [biscuit tin] on the fridge
        drawer below the [oven]
        [attic] behind the chimney
        [hall cupboard] next to the brooms
        [basket] beside the piano
        [crate] in the coal cellar
        top shelf of the [pantry]
        [chest] at the foot of the bed
        [wicker hamper] in the loft
        cabinet over the [washing machine]
        [suitcase] on top of the wardrobe
        shed behind the [watering cans]
        [wooden box] under the desk
        bench in the [porch]
        [filing cabinet] in the study
    """),
    "tool": _lines("""
        cordless drill
        hedge trimmer
        ladder
        tile cutter
        wheelbarrow
        pressure washer
        sander
        sewing machine
        wallpaper table
        chainsaw
        trailer
        jigsaw
        car jack
        sledge
        camping stove
        projector
    """),
    "lesson": _words(
        "fencing calligraphy juggling salsa archery pottery sailing origami judo weaving riding typing "
        "bouldering woodwork"
    ),
    "lock": _lines("""
        bicycle lock
        gym locker
        travel bag
        garden gate
        tool chest
        key box
        cellar door
        wine cabinet
        boat shed
        mailbox
        luggage strap
        display case
        jewellery box
        camera case
    """),
    "subject": _lines("""
        geology
        bookkeeping
        astronomy
        heraldry
        Latin grammar
        botany
        woodcarving
        rhetoric
        meteorology
        technical drawing
        home economics
        oceanography
    """),
    "dish": _lines("""
        smoked eel pie
        beetroot dumplings
        chestnut soup
        pickled plums
        buttermilk waffles
        lentil sausages
        roast goose with figs
        walnut noodles
        nettle ravioli
        honey pretzels
        turnip fritters
        poppy seed strudel
        cider mussels
        barley pudding
    """),
    "creature": _lines("""
        blind white [eel]
        two-headed [otter]
        singing [pike]
        giant [newt]
        silver-backed [toad]
        horned [swan]
        glowing [crayfish]
        bearded [catfish]
        three-eyed [heron]
        whispering [turtle]
    """),
    "collection": _lines("""
        umbrellas
        clockwork toys
        fishing nets
        door knockers
        sewing thimbles
        barometers
        postage scales
        carnival masks
        typewriters
        bicycle bells
        paperweights
        salt cellars
    """),
    "emblem": _lines("""
        [bear] with a trumpet
        [fox] on stilts
        [pig] reading a newspaper
        [mermaid] with an anchor
        [cat] in a rowing boat
        [hare] beating a drum
        [monk] riding a snail
        [whale] wearing a crown
        [parrot] with spectacles
        [donkey] at a piano
    """),
    "code_language": _words("Elixir OCaml Zig Haskell Erlang Clojure Fortran Nim Kotlin Scala Ada Julia"),
    "fault": _lines("""
        the [drip tray] is full
        the [lid] is not closed
        the [filter] is clogged
        the [motor] overheats
        the [tank] is empty
        the [belt] has slipped
        the [sensor] is dirty
        the [fuse] has blown
        the [hose] leaks
        the [battery] is loose
        the [fan] is blocked
        the [seal] is torn
    """),
    "goods": _lines("""
        garden shears
        oven gloves
        rope ladders
        cuckoo clocks
        snow shovels
        fishing floats
        piano stools
        camping lanterns
        beehive frames
        egg timers
        roller blinds
        tuning forks
        dog leads
        bread knives
    """),
    "team": _lines("""
        logistics
        compliance
        onboarding
        procurement
        packaging
        localisation
        facilities
        reliability
        pricing
        warranty
        payroll
        outreach
        catering
        accessibility
    """),
    "paper": _lines("""
        customs forms
        travel receipts
        unpaid bills
        repair orders
        insurance letters
        holiday requests
        building permits
        delivery notes
        accident reports
        job applications
        rental contracts
        meeting minutes
    """),
    "material": _lines("""
        recycled cork
        smoked oak
        brushed titanium
        woven nylon
        pressed bamboo
        frosted glass
        cast aluminium
        waxed canvas
        enamelled steel
        carbon fibre
    """),
    "item": _lines("""
        a jar of [honey]
        their own [mug]
        a pair of [slippers]
        a lucky [coin]
        a [poem] by heart
        two white [candles]
        a spare [whistle]
        an old [map]
        a bag of [apples]
        a [photo] of their pet
        a roll of [string]
        a wooden [spoon]
    """),
    "penalty": _lines("""
        [swap seats] with the player on your left
        [give away] your best card
        stand up and [sing]
        [close one eye] until the next turn
        lose your [tower]
        start again from the [harbour]
        hand the dice to the [youngest]
        put your [hat] on the table
        [skip] the next two rounds
        [turn over] all your cards
    """),
    "setting": _lines("""
        a flooded [opera] house
        a [weather station] in the desert
        a [monastery] of deaf monks
        a [circus] on a cargo ship
        an abandoned [ski] resort
        a [submarine] full of plants
        a [bakery] during a siege
        an island of retired [spies]
        a [lift] that never stops
        a [library] under the sea
        a village without [mirrors]
        a [night train] to nowhere
    """),
    "mascot": _words("moose walrus hedgehog jackal porcupine flamingo wombat lobster meerkat platypus"),
    "tree": _words("quince larch walnut medlar cedar hornbeam mulberry juniper rowan sycamore"),
    "ghost": _lines("""
        a drowned [piper]
        a headless [cook]
        a weeping [bride]
        a one-armed [gardener]
        a limping [notary]
        a laughing [nun]
        a barefoot [drummer]
        a [child] with a lantern
        a blind [organist]
        a faceless [postman]
    """),
    "weekday": _words("Monday Tuesday Wednesday Thursday Friday Saturday"),
}
MONTHS = _words("January February March April May June July August September October November December")
# Even numbers come first: every pool of numbers splits into even ones for reports and odd ones for tuning.
NUMBERS: dict[str, tuple[str, ...]] = {
    "date": tuple(f"{day} {month}" for month in MONTHS for day in range(2, 29)),
    "year": tuple(str(year) for year in range(1612, 1979)),
    "summer": tuple(str(year) for year in range(1982, 2020)),
    "time": tuple(f"{hour}:{minute:02}" for hour in range(6, 23) for minute in (5, 10, 20, 25, 35, 40, 50, 55)),
    "port": tuple(str(2012 + 53 * step) for step in range(140)),
    "code": tuple(str(1000 + 7919 * step % 9000) for step in range(2, 160)),
    "height": tuple(str(1104 + 37 * step) for step in range(60)),
    "grams": tuple(str(212 + 17 * step) for step in range(44)),
    "amount": tuple(str(114 + 19 * step) for step in range(44)),
    "millilitres": tuple(str(116 + 35 * step) for step in range(24)),
    "degrees": tuple(str(152 + 3 * step) for step in range(24)),
    "hours": tuple(str(132 + 23 * step) for step in range(30)),
    "platform": tuple(f"{number}{letter}" for number in range(11, 30) for letter in "ABC"),
}
COMPOUND: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "town": (*TOWN, ""),
    "river": (*RIVER, ""),
    "mountain": (*MOUNTAIN, ""),
    "lake": (*LAKE, ""),
    "island": (*ISLAND, ""),
    "kingdom": (*KINGDOM, ""),
    "firm": (*FIRM, ""),
    "service": (*SERVICE, ""),
    "project": (*PROJECT, ""),
    "host": (*HOST, ""),
    "device": (*DEVICE, " "),
    "inn": (*INN, " "),
    "shop": (*SHOP, " "),
    "club": (*CLUB, " "),
    "house": (*HOUSE, " "),
    "school": (*SCHOOL, " "),
    "street": (*STREET, " "),
    "car": (*CAR, " "),
    "cake": (*CAKE, " "),
    "drink": (*DRINK, " "),
    "game": (*GAME, ""),
    "book": (*BOOK, " "),
    "language": (*LANGUAGE, ""),
    "hello": (*HELLO, ""),
    "coin": (*COIN, ""),
    "flag": (*FLAG, ""),
    "branch": (*BRANCH, ""),
    "error": (*ERROR, ""),
    "room": (*ROOM, " "),
    "moon": (*MOON, ""),
    "pet": (*PET, ""),
    "password": (*PASSWORD, ""),
}
PREFIXED = {"mountain": "Mount ", "lake": "Lake "}
INVENTED = frozenset({"person", *COMPOUND}) - {"error", "room"}
"""Pools whose values are proper names that occur in no other text; a reply with one of them comes from a fact."""


@cache
def pool(name: str, half: str) -> tuple[Value, ...]:
    """Return one half of a pool, in a fixed order."""
    turn = HALVES.index(half)
    if name == "person":
        firsts, lasts = FIRST[turn::2], map("".join, product(SURNAME[0][turn::2], SURNAME[1]))
        return tuple(Value(f"{firsts[index % len(firsts)]} {last}", last) for index, last in enumerate(lasts))
    if name in COMPOUND:
        heads, tails, between = COMPOUND[name]
        texts = tuple(f"{PREFIXED.get(name, '')}{head}{between}{tail}" for head, tail in product(heads[turn::2], tails))
    else:
        texts = (PLAIN | NUMBERS)[name][turn::2]
    return tuple(map(_value, texts))


def _value(text: str) -> Value:
    """Read a text whose key may be marked by brackets."""
    marked = KEY.search(text)
    return Value(text.replace("[", "").replace("]", ""), marked[1] if marked else text)
