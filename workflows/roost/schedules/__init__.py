"""When something is due: times, intervals and cron expressions in a person's time zone."""
