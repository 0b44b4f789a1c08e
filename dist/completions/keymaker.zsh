#compdef keymaker
# The program completes itself, user names and key ids included.
source <(COMPLETE=zsh keymaker)
_clap_dynamic_completer_keymaker "$@"
