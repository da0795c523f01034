"""One person's phone number under all the forms that WhatsApp and people write it in.

Some countries lengthened their mobile numbers; WhatsApp kept, for many accounts, the form of the
day on which they signed up. Which one a message names depends on the provider and on the account:

Brazil     +55 DD 9xxxx-xxxx   also without the ninth digit
Mexico     +52 and ten digits  also +52 1 and ten digits
Argentina  +54 9 and ten digits  also without the 9

Both forms reach the same phone, and no two phones share them. We answer to the form that came, and
know the person under all.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

from roost_channels.config import Names

PREFIX = "whatsapp:"
# What people put between digits: spaces, hyphens and dashes, brackets, dots, slashes.
_BETWEEN = re.compile(r"[\s().\-/\u2010-\u2015\u2212]+")
_NUMBER = re.compile(r"(?:\+|00)?([1-9][0-9]{5,14})")
_BRAZIL_OLD = re.compile(r"(55[1-9][0-9])([6-9][0-9]{7})")
_BRAZIL = re.compile(r"(55[1-9][0-9])9([6-9][0-9]{7})")
_MEXICO_OLD = re.compile(r"521([0-9]{10})")
_MEXICO = re.compile(r"52([0-9]{10})")
_ARGENTINA_OLD = re.compile(r"54([1-3][0-9]{9})")
_ARGENTINA = re.compile(r"549([1-3][0-9]{9})")

# (a form that is no longer the country's own, the country's own)
_CANONICAL = (
    (_BRAZIL_OLD, r"\g<1>9\g<2>"),
    (_MEXICO_OLD, r"52\g<1>"),
    (_ARGENTINA_OLD, r"549\g<1>"),
)
_OTHER_FORMS = (
    (_BRAZIL, r"\g<1>\g<2>"),
    (_MEXICO, r"521\g<1>"),
    (_ARGENTINA, r"54\g<1>"),
)


def canonical(address: str) -> str:
    """`whatsapp:+…` in its country's own form; every other address as it is."""
    digits = _digits(address)
    for form, own in _CANONICAL:
        if form.fullmatch(digits):
            return f"{PREFIX}+{form.sub(own, digits)}"
    return address


def other_forms(address: str) -> tuple[str, ...]:
    """The further addresses of the same phone, its country's own form first."""
    own = canonical(address)
    digits = _digits(own)
    forms = [own]
    forms += [f"{PREFIX}+{f.sub(to, digits)}" for f, to in _OTHER_FORMS if f.fullmatch(digits)]
    return tuple(form for form in forms if form != address)


def listed(entry: str) -> str:
    """An entry of an allowlist as senders are compared with it.

    Numbers may be written as people do: `+55 (11) 98765-4321`, `0055…`, without `whatsapp:`. Ids of
    other kinds and `@names` stay as they are.
    """
    name = _BETWEEN.sub("", entry.strip().removeprefix(PREFIX))
    number = _NUMBER.fullmatch(name)
    return canonical(f"{PREFIX}+{number[1]}") if number else entry


def _digits(address: str) -> str:
    digits = address.removeprefix(f"{PREFIX}+")
    return digits if digits != address and digits.isascii() and digits.isdigit() else ""


def _listed(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(listed, entries))


# An allowlist of numbers, each in the form that senders are compared with.
Numbers = Annotated[Names, AfterValidator(_listed)]
