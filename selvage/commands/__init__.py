"""The command line and what each command does, in words and exit statuses."""
