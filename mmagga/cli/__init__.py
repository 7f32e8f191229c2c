"""The command line: flags from the configuration, errors in one line, exit codes."""
