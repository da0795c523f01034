"""What must hold after any faults and crashes, as pure functions over a record of a run."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from roost_channels.rendering.parts import REPEAT_LABEL
from roost_platform.chaos.record import Record, Shown, words
from roost_platform.chaos.transcripts import faults_of
from roost_platform.chaos.wait_rules import WAIT_RULES
from roost_platform.db.enqueue import CUT_NOTICE

EVIDENCE_MAX = 300  # characters of a text quoted in a violation


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that did not hold: in which chat, and the evidence."""

    rule: str
    chat: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.rule} in {self.chat or 'general'}: {self.evidence}"


Rule = Callable[[Record], Iterator[Violation]]


def check(record: Record) -> list[Violation]:
    """Every violation of every rule; a good run has none."""
    found = [violation for rule in RULES for violation in rule(record)]
    return found + [Violation(*broken) for rule in WAIT_RULES for broken in rule(record)]


def nothing_sent_is_lost_on_the_way_in(record: Record) -> Iterator[Violation]:
    """A message that the provider promises to deliver is in the inbox."""
    words_accepted = {message.word for message in record.accepted}
    for sent in record.sent:
        if sent.word not in words_accepted | record.taken:
            yield Violation("lost inbound", sent.chat, f"{sent.word} was never accepted")


def every_accepted_message_is_answered(record: Record) -> Iterator[Violation]:
    """Its word and all numbered words of its answer are on the screen, but for those behind the
    bound of a message, where the screen says that the rest was cut.
    """
    seen = {(shown.chat, word) for shown in _answers(record) for word in words(shown.text)}
    told = {shown.chat for shown in _answers(record) if CUT_NOTICE.strip() in shown.text}
    for message in record.accepted:
        if message.excused:
            continue
        wanted = message.answer_words
        if message.chat in told:
            wanted = [word for word in wanted if word not in message.cut]
        missing = [word for word in wanted if (message.chat, word) not in seen]
        if missing:
            yield Violation("lost answer", message.chat, f"{len(missing)} missing, {missing[:5]}")


def no_copy_is_unlabelled(record: Record) -> Iterator[Violation]:
    """A passage is shown twice only if the second copy says that it may be a repeat."""
    copies: Counter[tuple[str, str]] = Counter()
    for shown in _answers(record):
        if not shown.text.startswith(REPEAT_LABEL):
            own = (word for word in words(shown.text) if word not in record.taken)
            copies.update((shown.chat, word) for word in own)
    for (chat, word), count in copies.items():
        if count > 1:
            yield Violation("unlabelled duplicate", chat, f"{word} is shown {count} times")


def answers_keep_the_order_of_the_questions(record: Record) -> Iterator[Violation]:
    """In each chat answers come in the order of acceptance, their parts in order and unmixed."""
    places = {(message.chat, message.word): message.place for message in record.accepted}
    for chat, messages in _by_chat(_answers(record)).items():
        seen: set[str] = set()
        counted: dict[str, int] = {}
        current: set[str] = set()
        for shown in messages:
            fresh = [word for word in words(shown.text) if word not in seen]
            seen.update(fresh)
            heads = [word for word in fresh if (chat, word) in places]
            if heads:
                last = max((places[chat, word] for word in current), default=-1)
                if [places[chat, w] for w in heads] != sorted(places[chat, w] for w in heads):
                    yield Violation("order", chat, f"{heads} are not in the order of asking")
                if places[chat, heads[0]] < last:
                    yield Violation("order", chat, f"{heads[0]} comes after {sorted(current)}")
                current = set(heads)
            for word in fresh:
                stem, _, number = word.partition(".")
                if not number or (chat, stem) not in places:
                    continue
                if stem not in current:
                    yield Violation("order", chat, f"{word} comes after {sorted(current)}")
                    break
                if int(number) < counted.get(stem, 0):
                    yield Violation("order", chat, f"{word} comes after {stem}.{counted[stem]}")
                    break
                counted[stem] = int(number)


def no_answer_is_ever_deleted(record: Record) -> Iterator[Violation]:
    """An answer stays in the chat; only status messages may go."""
    for removed in record.removed:
        if words(removed.text):
            text = removed.text[:EVIDENCE_MAX]
            yield Violation("deleted answer", removed.chat, f"{removed.message_id}: {text!r}")


def no_status_is_left_behind(record: Record) -> Iterator[Violation]:
    """No status message stays, unless its id was never learned: Telegram has no way to find it."""
    for shown in record.shown:
        if shown.is_status and (shown.chat, shown.message_id) not in record.unknowable:
            text = shown.text[:EVIDENCE_MAX]
            yield Violation("orphan status", shown.chat, f"{shown.message_id}: {text!r}")


def no_status_changes_after_the_final(record: Record) -> Iterator[Violation]:
    """After a turn's last message its status message changes no more."""
    finals = {(final.chat, final.turn_id): final.at for final in record.finals}
    for edit in record.status_edits:
        at = finals.get((edit.chat, edit.turn_id))
        if at is not None and edit.at > at:
            yield Violation(
                "status after final", edit.chat, f"turn {edit.turn_id}, {edit.at - at:.3f} s later"
            )


def no_call_ignores_a_wait(record: Record) -> Iterator[Violation]:
    """No call is made during a wait that a provider asked for."""
    for call in record.early:
        yield Violation("call inside retry_after", "", call)


def nothing_is_stuck(record: Record) -> Iterator[Violation]:
    """Everything is finished when nothing more is to be expected."""
    for what in record.stuck:
        yield Violation("stuck", "", what)


def transcripts_are_valid(record: Record) -> Iterator[Violation]:
    """A strict server with OpenAI's rules would accept every transcript."""
    for chat, messages in record.transcripts.items():
        for fault in faults_of(messages):
            yield Violation("transcript", chat, fault)


RULES: tuple[Rule, ...] = (
    nothing_sent_is_lost_on_the_way_in,
    every_accepted_message_is_answered,
    no_copy_is_unlabelled,
    answers_keep_the_order_of_the_questions,
    no_answer_is_ever_deleted,
    no_status_is_left_behind,
    no_status_changes_after_the_final,
    no_call_ignores_a_wait,
    nothing_is_stuck,
    transcripts_are_valid,
)


def _answers(record: Record) -> Iterator[Shown]:
    return (shown for shown in record.shown if not shown.is_status)


def _by_chat(messages: Iterator[Shown]) -> dict[str, list[Shown]]:
    chats: defaultdict[str, list[Shown]] = defaultdict(list)
    for shown in messages:
        chats[shown.chat].append(shown)
    return {
        chat: sorted(messages_shown, key=lambda s: s.place)
        for chat, messages_shown in chats.items()
    }
