
# What clap's functions cannot know: which domains there are. xmem prints them, at once, and nothing
# if it cannot.
_xmem_domains() {
    local host line
    local -a domids names shown expl
    local -i at=$xmem_words[(I)--host]
    (( at )) && host=${(Q)xmem_words[at + 1]}
    at=$xmem_words[(I)--host=*]
    (( at )) && host=${(Q)xmem_words[at]#--host=}
    for line in ${(f)"$(_call_program domains ${xmem_words[1]} ${host:+--host ${(q)host}} __complete-domains 2>/dev/null)"}; do
        domids+=(${line%% *})
        names+=(${line#* })
        shown+=("${line#* }  -- domain ${line%% *}")
    done
    # Domids are offered to those who type one.
    if [[ $PREFIX == [0-9]* ]]; then
        _wanted domains expl domain compadd -a domids
    else
        _wanted domains expl domain compadd -l -d shown -a names
    fi
}

# The domains, and the word for all of them.
_xmem_all_or_domains() {
    local -a expl
    _wanted all expl 'every domain' compadd all
    _xmem_domains
}

# The domains, if the option before the cursor takes any number of them.
_xmem_more_domains() { # OPTION
    [[ ${${(M)words[1,CURRENT-1]:#-?*}[-1]} == $1 ]] && _xmem_domains
}
