"""Figures in documents are those of the code: a bound that changes takes its sentence along."""

import re
from pathlib import Path

import pytest

from roost.agent import MAX_CALLS_DEFAULT, MAX_CALLS_LIMIT, MAX_STEPS_LIMIT, TOOLS_MAX
from roost.documents.child import MEMORY_BYTES_MAX
from roost.documents.formats import PAGES_MAX
from roost.documents.pictures import PICTURE_BYTES_MAX
from roost.documents.reader import FILE_BYTES_MAX, READ_S, TEXT_CHARS_MAX
from roost.execution.tool_process import STOP_GRACE_S
from roost.execution.tool_processes import PROCESSES_MAX, WAIT_S
from roost.flows.journal import BRANCHES_MAX, RESULT_BYTES_MAX, STEPS_MAX
from roost.text import RESULT_BYTES_MAX as TOOL_RESULT_BYTES_MAX
from roost.waits import WAIT_S_MAX
from roost_channels.rendering.budget import RENDER_S
from roost_channels.testing.kept import KEPT_FILE_BYTES_MAX, KEPT_MESSAGES_MAX
from roost_channels.whatsapp.channel import BODY_MAX, MEDIA_BYTES_MAX
from roost_channels.whatsapp.links import LINK_S
from roost_channels.whatsapp.network import CAPABILITIES
from roost_channels.whatsapp_cloud.format import DOCUMENT_BYTES_MAX, TEXT_MAX
from roost_platform.alerts import gateway, watch
from roost_platform.console.markdown import TEXT_LENGTH_MAX
from roost_platform.db import services
from roost_platform.db.artifacts import DISK_FREE_BYTES_MIN
from roost_platform.db.gateway.originals import KEPT_S
from roost_platform.db.inbox.forgotten import KEPT_S as FORGOTTEN_S
from roost_platform.db.people import access, link_codes
from roost_platform.db.schedules.keeping import PERSON_MAX
from roost_platform.db.turns.children.limits import LIVE_OF_PARENT_MAX
from roost_platform.db.turns.scheduled.ends import FAILS_MAX
from roost_platform.db.turns.transcript import GROUP_MESSAGES_MAX
from roost_platform.gateway.compression.compression import ROUNDS_MAX
from roost_platform.gateway.compression.sent_rows import WARM_S
from roost_platform.gateway.launch.client import CONTEXT_TOKENS
from roost_platform.identity import accounts, login_failures, passwords
from roost_platform.queueing import FOLLOWUPS_MAX
from roost_platform.stack import lifeline, logs, process_log, supervised, up
from roost_workflows.turn import files

ROOT = Path(__file__).parents[3]
MIB, MINUTE, HOUR, DAY = 2**20, 60, 3600, 86_400
WORDS = {2: "two", 3: "three", 4: "four", 5: "five", 8: "eight", 10: "ten", 20: "twenty"}
BOUNDS = supervised.Bounds()


def word(number: float) -> str:
    """A number as the pages write it."""
    assert number == int(number)
    return WORDS.get(int(number), str(int(number)))


CLAIMS = [
    ("README.md", f"a password of at least {passwords.PASSWORD_LENGTH_MIN} characters"),
    ("SECURITY.md", f"valid for {accounts.SETUP_LINK_S / MINUTE:.0f} minutes"),
    ("agents", f"up to {TOOLS_MAX} functions"),
    ("agents", f"1 to {MAX_STEPS_LIMIT}, 8 by default"),
    ("agents", f"1 to {MAX_CALLS_LIMIT}, {MAX_CALLS_DEFAULT} by default"),
    ("agents", f"first {files.FILE_CHARS_MAX:,} characters of each and {files.TURN_CHARS_MAX:,}"),
    ("agents", f"up to {TEXT_CHARS_MAX:,} characters"),
    ("agents", f"WebP up to {PICTURE_BYTES_MAX // MIB} MiB"),
    ("agents", f"newest {files.PICTURES_MAX} of the conversation, "),
    ("agents", f"{files.PICTURES_BYTES_MAX // MIB} MiB at most"),
    ("agents", f"larger than {FILE_BYTES_MAX // MIB} MiB, or not here within "),
    ("agents", f"not here within {files.ARRIVAL_WAIT_S:.0f} s"),
    ("agents", f"{MEMORY_BYTES_MAX // MIB // 1024} GiB of memory, {READ_S:.0f} s and at most "),
    ("agents", f"at most {PAGES_MAX} pages"),
    ("agents", f"At most {PROCESSES_MAX} processes run at once. Further calls wait up to "),
    ("agents", f"wait up to {WAIT_S:.0f} s for one"),
    ("agents", f"the call has {STOP_GRACE_S} s to return by itself"),
    ("agents", f"An agent may have {word(LIVE_OF_PARENT_MAX)} others at work"),
    ("extending", f"A result is cut at {TOOL_RESULT_BYTES_MAX // 1024} KiB"),
    ("flows", f"| steps of one flow | {STEPS_MAX:,}"),
    ("flows", f"| branches of one gather | {BRANCHES_MAX} |"),
    ("flows", f"| what one step is given or gives | {RESULT_BYTES_MAX // 1024} KB"),
    ("flows", f"| a sleep, a question, an approval | {WAIT_S_MAX / DAY:.0f} days |"),
    ("gateway", f"within the last {word(WARM_S / MINUTE)} minutes"),
    ("gateway", f"at most {word(ROUNDS_MAX)} times"),
    ("gateway", f"else {CONTEXT_TOKENS:,} tokens"),
    ("gateway", "kept for a day" if KEPT_S == DAY else "kept for so long"),
    ("operations", f"at most {services.ALIVE_S:.0f} s old"),
    ("operations", f"rotated at {process_log.FILE_BYTES_MAX // MIB} MiB"),
    ("operations", f"{word(process_log.FILES_KEPT)} old ones kept"),
    ("operations", f"the newest {KEPT_MESSAGES_MAX} messages of each"),
    ("operations", f"files ({KEPT_FILE_BYTES_MAX // MIB} MB)"),
    ("operations", f"after {BOUNDS.backoff_min_s} s, then 1 s, up to {BOUNDS.backoff_max_s:.0f} s"),
    ("operations", f"{word(BOUNDS.early_crashes_max).title()} early crashes in a row"),
    ("operations", f"sign of life every {services.HEARTBEAT_S:.0f} s"),
    ("operations", f"After {lifeline.SILENCE_MAX_S:.0f} s without one (the engine: "),
    ("operations", f"the engine: {up.ENGINE_SILENCE_MAX_S:.0f} s without any answer"),
    ("operations", f"From the {lifeline.STUCK_S + lifeline.BEAT_EVERY_S:.0f}th second on"),
    ("operations", f"{word(login_failures.LOGIN_FAILURES_MAX).title()} wrong passwords"),
    ("operations", f"for {login_failures.LOGIN_WINDOW_S / MINUTE:.0f} minutes"),
    ("operations", f"only one try in {login_failures.LOGIN_SPACING_S:.0f} s"),
    ("operations", f"{passwords.HASHES_WAITING_MAX} at most wait for it"),
    ("operations", f"{RENDER_S} s for a message"),
    ("operations", f"{TEXT_LENGTH_MAX:,} characters is always plain"),
    ("operations", f"beyond {FOLLOWUPS_MAX} waiting"),
    ("operations", f"less than {DISK_FREE_BYTES_MIN // MIB} MiB of the disk"),
    ("operations", f"one place in the code {logs.LINES_MAX} a minute"),
    ("operations", f"every {watch.LOOK_S:.0f} seconds"),
    ("operations", f"left {word(gateway.FAILURES)} calls in a row"),
    ("operations", f"at {gateway.NEARLY} percent of a budget"),
    ("operations", f"tried {word(watch.TRIES_MAX)} times"),
    ("operations", f"as hashes for {FORGOTTEN_S / DAY:.0f} days"),
    ("schedules", f"at most {PERSON_MAX} schedules"),
    ("schedules", f"After {word(FAILS_MAX)} like failures in a row"),
    ("telegram", f"once in {word(access.NOTICE_EVERY_S / MINUTE)} minutes"),
    ("telegram", f"the newest {word(access.CODES_MAX)} have an open request"),
    ("telegram", "until its hour is over" if access.CODE_S == HOUR else "until its time is over"),
    ("telegram", f"valid for {word(link_codes.LINK_CODE_S / MINUTE)} minutes and once"),
    ("telegram", f"{word(link_codes.WRONG_BY_PERSON_MAX).title()} wrong codes of one person"),
    ("telegram", f"the newest {GROUP_MESSAGES_MAX} messages"),
    ("whatsapp", f"| longest part | {BODY_MAX} characters | {TEXT_MAX} characters |"),
    ("whatsapp", f"up to {CAPABILITIES.send_burst} messages at once and one in six seconds"),
    ("whatsapp", f"up to {MEDIA_BYTES_MAX // MIB} MB at Twilio"),
    ("whatsapp", f"up to {DOCUMENT_BYTES_MAX // MIB} MB at Meta"),
    ("whatsapp", "after six hours" if LINK_S == 6 * HOUR else "after some hours"),
]


@pytest.mark.parametrize(("page", "claim"), CLAIMS, ids=lambda value: value[:40])
def test_a_page_has_the_figure_of_the_code(page: str, claim: str) -> None:
    path = ROOT / (page if page.endswith(".md") else f"docs/{page}.md")
    assert claim in re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
