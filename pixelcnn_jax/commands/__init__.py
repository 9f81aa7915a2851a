"""The command lines: flags to settings to the library. Nothing else imports this."""
