"""`rnnlab completion bash`: the script that makes bash complete `rnnlab` and its commands."""

from rnnlab.cli import commands
from rnnlab.errors import UserError
from rnnlab.terminal.screen import say

SHELLS = ("bash",)

# Only the text before the cursor counts. Hydra completes the words of one command, so it gets the words after
# `train`. Bash replaces only the text after the last of COMP_WORDBREAKS, as a rule the `=`. An offered word may be
# the name of a stranger's file: compgen would run a $(command) in it, and so would the line into which it is put.
BASH = """\
_rnnlab() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" choices one
    local word="${{line##*[[:space:]]}}"
    local -a words
    read -r -a words <<< "$line"
    COMPREPLY=()
    if (( ${{#words[@]}} < 2 )) || {{ (( ${{#words[@]}} == 2 )) && [[ -n $word ]]; }}; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
        COMPREPLY=("${{COMPREPLY[@]/%/ }}")
    elif [[ ${{words[1]}} == train ]]; then
        choices="$(COMP_LINE="train ${{line#*[[:space:]]train[[:space:]]}}" COMP_POINT=$COMP_POINT \\
            "${{words[0]}}" train -sc query=bash 2> /dev/null)"
        read -r -d '' -a choices <<< "$choices"
        for one in "${{choices[@]}}"; do
            [[ $one == "$word"* && $one != *[^[:alnum:]_./=+@,:~-]* ]] && COMPREPLY+=("$one")
        done
        if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
            COMPREPLY=("${{COMPREPLY[@]#"${{word%=*}}="}}")
        fi
    fi
}}
complete -o nospace -o default -F _rnnlab rnnlab"""

REMOVE = "complete -r rnnlab 2> /dev/null; unset -f _rnnlab"


def script(action: str, shell: str) -> str:
    """The script that a shell evaluates to "install" or "uninstall" completion. Raises UserError for other shells."""
    if shell not in SHELLS:
        raise UserError(f"completion for {shell}: there is one for {', '.join(SHELLS)} only")
    return BASH.format(commands=" ".join(commands())) if action == "install" else REMOVE


def values(line: str) -> list[str]:
    """The possible completions of `KEY=` or `GROUP=`, the last word of a line, as KEY=VALUE.

    Hydra itself offers for a key only its present value, and for a group no choices in sub-folders.
    """
    from hydra._internal.utils import get_args

    *before, word = line.split(" ")
    key, is_set, _ = word.partition("=")
    if not is_set:
        return []
    if "." not in key:
        from rnnlab.config.explain import choices_of

        found = choices_of(key, get_args(before[1:]).config_dir)
    else:
        from rnnlab.config.schema import words

        found = words(key)
    return [f"{key}={value}" for value in found if f"{key}={value}".startswith(word)]


def main(argv: list[str]) -> int:
    if argv in (["-h"], ["--help"]) or len(argv) != 1:
        say(
            "usage: rnnlab completion bash",
            "",
            "Put this into ~/.bashrc:",
            '  eval "$(rnnlab completion bash)"',
        )
        return 0 if argv in (["-h"], ["--help"]) else 2
    say(*script("install", argv[0]).splitlines())
    return 0
