"""The activities of a turn: model calls, tool calls, progress and settling."""
