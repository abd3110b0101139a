
# What clap's lines above cannot know: which domains there are. xmem prints them, at once, and nothing
# if it cannot.

# Whether a domain belongs at the cursor.
function __fish_xmem_wants_domain
    set -l words (commandline -opc)
    set -l command ''
    set -l place 0
    set -l valued no
    set -l bare no
    set -l from no
    for word in $words[2..]
        if test $valued = yes
            set valued no
        else if test $bare = no; and string match -q -- '-?*' $word
            set from no
            switch $word
                case --from
                    set from yes
                case --
                    set bare yes
                case @VALUED@
                    set valued yes
            end
        else if test -z $command
            set command $word
        else if test $from = no
            set place (math $place + 1)
        end
    end
    test $valued = no; or return 1
    test $from = no; or return 0
    switch $command:$place
        case @DOMAIN@
            return 0
    end
    return 1
end

# The domains, each with what it is.
function __fish_xmem_domains
    set -l words (commandline -opc)
    set -l host
    if set -l at (contains -i -- --host $words)
        set host --host $words[(math $at + 1)]
    else
        set host (string match -- '--host=*' $words)
    end
    # Domids are offered to those who type one.
    set -l by_domid (string match -r '^[0-9]' -- (commandline -ct))
    $words[1] $host __complete-domains 2>/dev/null | while read -l line
        set -l domid (string replace -r ' .*' '' -- $line)
        set -l name (string replace -r '^[0-9]+ ' '' -- $line)
        if test -n "$by_domid"
            printf '%s\t%s\n' $domid $name
        else
            printf '%s\tdomain %s\n' $name $domid
        end
    end
end

complete -c xmem -f
complete -c xmem -n __fish_xmem_wants_domain -a '(__fish_xmem_domains)'
# clap's lines do not match while the value of an option is missing.
complete -c xmem -l host -x -a 'xen sim'
complete -c xmem -l log-format -x -a 'text json'
complete -c xmem -n '__fish_seen_subcommand_from help' -a '@COMMANDS@'
