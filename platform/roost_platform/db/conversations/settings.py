"""Settings of one conversation: its queue mode, what it sees of progress, and a block of ours."""

from collections.abc import Mapping

from roost.agent import QUEUE_MODES
from roost_channels.config import Progress
from roost_platform import commands
from roost_platform.db import models
from roost_platform.queueing import SETTING, QueueRules

# What conversations see of work in progress that chose nothing, by (channel, account).
ProgressModes = Mapping[tuple[str, str], Progress]
PROGRESS_USUAL: Progress = "status"  # where the account has no setting, as in the console
PROGRESS = "progress"  # among a conversation's settings: what people see while it works
BLOCKED_AT = "blocked_at"  # among them: since when we can't write there, in seconds


def choose_queue(conversation: models.Conversation, word: str, rules: QueueRules) -> str:
    """Set the conversation's queue mode to `word`; returns the answer, which lists the modes when
    the word is none of them.
    """
    default = rules.default_of(conversation.channel, conversation.agent)
    mode = next((known for known in QUEUE_MODES if known == word), None)
    if mode is None and word != commands.QUEUE_DEFAULT:
        now = rules.mode_of(conversation)
        return commands.queue_lines(now, default)
    settings = {name: v for name, v in conversation.settings.items() if name != SETTING}
    conversation.settings = settings if mode is None else {**settings, SETTING: mode}
    return commands.queue_set(mode or default)


def choose_progress(conversation: models.Conversation, word: str, modes: ProgressModes) -> str:
    """Set what the conversation sees of work in progress; returns the answer, which lists the modes
    when the word is none of them. modes: what is in force where nothing is chosen, by account.
    """
    usual = modes.get((conversation.channel, conversation.account), PROGRESS_USUAL)
    if word not in commands.PROGRESS_MEANINGS and word != commands.PROGRESS_DEFAULT:
        return commands.progress_lines(str(conversation.settings.get(PROGRESS, "")), usual)
    settings = {name: v for name, v in conversation.settings.items() if name != PROGRESS}
    chosen = word if word in commands.PROGRESS_MEANINGS else ""
    conversation.settings = {**settings, PROGRESS: chosen} if chosen else settings
    return commands.progress_set(chosen, usual)
