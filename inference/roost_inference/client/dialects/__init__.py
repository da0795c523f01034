"""What engines say in their own words and forms: errors, refusals, ends and pieces of answers."""
