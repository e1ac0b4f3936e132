# shellcheck shell=bash
# bash completion of cuda-nspawnctl(1). What there is to offer, the program says: it has the one table of its commands, and asks
# a daemon that runs for the names of machines, GPUs and jobs.

_cuda_nspawnctl() {
    local line word=${COMP_WORDS[COMP_CWORD]}
    [ "$word" != = ] || word=    # of --option=, which bash takes apart
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files)
                compopt -o filenames 2>/dev/null
                mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word")
                ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <(cuda-nspawnctl --complete "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
}

complete -F _cuda_nspawnctl cuda-nspawnctl
