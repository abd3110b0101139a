
# What clap's function above cannot know: which domains there are. xmem prints them, at once, and
# nothing if it cannot.
#
# No option is offered unless a dash was typed: at SIZE it would turn a size into a relative one.

# The words of this command up to the cursor, as xmem would get them: readline also takes them apart
# at each colon and equals sign.
_xmem_words() {
    local line=${COMP_LINE:0:COMP_POINT} rest word i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line#"${line%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$rest
        if ((i > 0)) && [[ $rest == "$line" && -n $word ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        line=${rest#"$word"}
    done
}

# Whether a domain belongs at the cursor. Sets `host` to what --host says.
_xmem_wants_domain() {
    local i word command='' place=0 valued='' bare='' from=''
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $valued ]]; then
            [[ $valued != --host ]] || host=$word
            valued=''
        elif [[ -z $bare && $word == -?* ]]; then
            from=''
            case $word in
            --from) from=yes ;;
            --) bare=yes ;;
            --host=*) host=${word#*=} ;;
            @VALUED@) valued=$word ;;
            esac
        elif [[ -z $command ]]; then
            command=$word
        elif [[ -z $from ]]; then
            place=$((place + 1))
        fi
    done
    [[ -z $valued && (-n $bare || ${words[i]} != -*) ]] || return 1
    [[ -z $from ]] || return 0
    # shellcheck disable=SC2195 # the pattern is put in when the file is generated
    case $command:$place in
    @DOMAIN@) return 0 ;;
    *) return 1 ;;
    esac
}

# Sets COMPREPLY to the domains that begin with what stands at the cursor, quoted as it is.
_xmem_domains() {
    local typed=${words[${#words[@]} - 1]} quote='' split='' line word
    case $typed in
    \'*) quote=\' typed=${typed:1} ;;
    \"*) quote=\" typed=${typed:1} typed=${typed//\\/} ;;
    *)
        typed=${typed//\\/}
        # readline replaces only what stands behind the colon.
        [[ $COMP_WORDBREAKS != *:* ]] || split=${typed%"${typed##*:}"}
        ;;
    esac
    COMPREPLY=()
    while IFS= read -r line; do
        word=${line#* }
        # Domids are offered to those who type one.
        [[ $typed != [0-9]* ]] || word=${line%% *}
        [[ $word == "$typed"* ]] || continue
        word=${word#"$split"}
        case $quote in
        \') word=${word//\'/\'\\\'\'} ;;
        \") word=${word//\\/\\\\} word=${word//\"/\\\"} word=${word//\$/\\\$} word=${word//\`/\\\`} ;;
        *) printf -v word %q "$word" ;;
        esac
        COMPREPLY+=("$word")
    done < <("${1/#\~/$HOME}" ${host:+--host "${host//[\'\"\\]/}"} __complete-domains 2>/dev/null)
    # Every domain; it stands alone.
    if [[ ${words[${#words[@]} - 2]} == --from && -z $quote && all == "$typed"* ]]; then
        COMPREPLY+=(all)
    fi
}

_xmem_or_domain() {
    local words host=''
    _xmem_words
    if _xmem_wants_domain; then
        # No file names where there are no domains.
        compopt +o default +o bashdefault
        _xmem_domains "$1"
    else
        _xmem "$@"
        local word kept=()
        for word in "${COMPREPLY[@]}"; do
            [[ $word == -* && ${2-} != -* ]] || kept+=("$word")
        done
        COMPREPLY=("${kept[@]}")
        # Its time would come right behind it: --wait=5m.
        [[ ${COMPREPLY[*]} != --wait ]] || compopt -o nospace
    fi
}

complete -F _xmem_or_domain -o bashdefault -o default xmem
