# The program completes itself, user names and key ids included.
COMPLETE=fish keymaker | source
