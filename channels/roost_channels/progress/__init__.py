"""Progress: what people see while a turn runs.

renderer         looks at running turns and starts what each needs now
status_messages  the one editable status message of a turn
drafts           the answer while it is written, where a channel has drafts
janitor          closes status messages of finished turns
status_view      the text of a status message, a pure function of the turn and the time
guard            whether progress may be shown now: it gives way to answers, and ends at the fence
"""
