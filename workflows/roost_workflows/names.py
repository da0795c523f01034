"""The names by which Temporal knows our workflow, its signals, its queue and its activities."""

from typing import Final

# A breaking change of the workflow's code needs a new version here; runs are short, so old ones
# end within minutes.
WORKFLOW_TYPE: Final = "roost.Session.v1"
SIGNAL_RING: Final = "ring"
SIGNAL_STOP: Final = "stop"
TASK_QUEUE: Final = "roost"

ACTIVITY_BEGIN: Final = "begin_turn"
ACTIVITY_GENERATE: Final = "generate"
ACTIVITY_CALL_TOOL: Final = "call_tool"
ACTIVITY_CLOSE_GROUP: Final = "close_group"
ACTIVITY_PARK: Final = "park"
ACTIVITY_SETTLE: Final = "settle"
ACTIVITY_UNDO: Final = "undo"
ACTIVITY_STOP_REQUESTED: Final = "stop_requested"

# Patches: changes of the workflow's code that earlier runs do not have.
PATCH_LOCAL_BEGIN: Final = "begin in the worker"
PATCH_LOCAL_SETTLE: Final = "settle in the worker"


def workflow_id(conversation_id: str) -> str:
    """One workflow id per conversation: the server allows one open run, so a conversation has one
    writer.
    """
    return f"session:{conversation_id}"
