# Making system calls of xmem fail, end it, or take long, by strace, and judging what it then left. Sourced.

# Runs xmem under strace, quietly, so that its only writes are those to the store and to its own record.
traced() { # STRACE-OPTION... -- XMEM-ARGUMENT...
    tr_options=
    while [ "$1" != -- ]; do
        tr_options="$tr_options $1"
        shift
    done
    shift
    [ "$VIA" != bus ] || tr_options="$tr_options -E XENSTORED_PATH=$device"
    # shellcheck disable=SC2086 # options are words
    strace -s 64 -o /tmp/trace $tr_options $program --quiet "$@"
}

# How many calls of each name the last traced run made: lines NAME COUNT.
calls() { # NAME...
    for ca_name in "$@"; do
        echo "$ca_name $(grep -c "^$ca_name(" /tmp/trace)"
    done
}

# The call by which the last traced run sent its (first) commit: NAME NUMBER, counted among calls of that name.
commit_call() {
    case $VIA in
    bus) cc_name=write ;;
    *) cc_name=sendto ;;
    esac
    grep "^$cc_name(" /tmp/trace | awk -v name=$cc_name '/"\\7\\0\\0\\0.*T\\0"/ { print name, NR; exit }'
}

# After a run that was told to set DOM to NEW KiB, and found it as BEFORE (see state): is what it left what its
# exit code promises? 0: done. 9: it says so, and the next run puts it right. Any other: nothing is changed.
judge() { # WHAT CODE DOM NEW BEFORE
    ju_now=$(state "$3")
    case $2 in
    0)
        [ "$(target "$3")" = "$4" ] || fail "$1: exit code 0, but $ju_now"
        is_in_step "$3"
        ;;
    9)
        grep -q "out of step" /tmp/err || fail "$1: exit code 9 without a word of it: $(cat /tmp/err)"
        [ -e "$(intent_file "$3")" ] || fail "$1: exit code 9 without a record for the next run"
        ;;
    *)
        [ "$ju_now" = "$5" ] || fail "$1: exit code $2, before: $5, now: $ju_now. It said: $(cat /tmp/err)"
        ;;
    esac
}

# Whatever happened: the next xmem finds the lock free, succeeds, and leaves everything in step.
next_run_mends() { # WHAT DOM SIZE
    nm_code=0
    xmem set --lock-timeout 20s "$2" "$3" >/tmp/next.out 2>&1 || nm_code=$?
    [ $nm_code = 0 ] || fail "$1: the next run left with $nm_code: $(cat /tmp/next.out)"
    in_step "$2" || fail "$1: the next run left it out of step: $(cat /tmp/next.out)"
    is_tidy
}
