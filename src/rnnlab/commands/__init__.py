"""One module a command: rnnlab NAME runs rnnlab.commands.NAME.main."""
