"""Who may do what: operators, logins, API tokens and roles; below console, API and CLI."""
