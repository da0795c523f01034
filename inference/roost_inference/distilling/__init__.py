"""Makes a drafter for a model from texts of its own, and measures what a drafter is worth."""
