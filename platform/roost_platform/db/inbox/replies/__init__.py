"""What events mean while questions are open: decisions, answers, messages that are held."""
