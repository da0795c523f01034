"""Who may enter: operators, logins, tokens and roles; below the console, the API and the CLI."""
