# list, watch, check, apply, reclaim and the system log, beside what xl and the guests say.

# Domain's row in `xmem list`, blanks squeezed.
row() { # DOM
    echo "$out" | grep "^$1 " | tr -s ' '
}

# Sets $free to what the host has free, in MiB, after both guests have got back what an earlier check took.
settled_free() {
    follows g1 196608
    follows g2 196608
    free=$(free_mib)
}

check_list_says_what_xl_says() { # every boot
    needs_xmem
    settled_free
    expect 0 xmem list
    xl list | tail -n +2 | while read -r name id held _; do
        contains "row of $name" "$(row "$name")" "$name $id "
        # xl rounds down to whole MiB.
        is "what $name holds" "$(row "$name" | cut -d ' ' -f 4 | cut -d . -f 1)" "$held"
    done
    # On Arm every guest has hardware virtualisation.
    type=PV
    [ "$ARCH" = x86 ] || type=PVH
    contains "row of g1" "$(row g1)" "g1 $(domid_of g1) $type "
    contains "row of g2" "$(row g2)" "g2 $(domid_of g2) PVH "
    contains "row of g1" "$(row g1)" " 192 193 256"
    contains "line of the host" "$out" ", free $free"
    # One that does not follow has another number in each column.
    trap 'xl unpause g1' EXIT
    xl pause g1
    expect 0 xl mem-set g1 160
    expect 0 xmem list g1
    contains "row of g1" "$(row g1)" " 192 160 161 256 "
    expect 0 xl mem-set g1 192
    expect 0 xmem list --json g1
    is "limit" "$(json limit_kib | head -n 1)" 197632
    expect 0 xmem list --format openmetrics
    contains "metrics" "$out" "xmem_domain_target_bytes{domid=\"$(domid_of g1)\",name=\"g1\",uuid=\"$(uuid_of g1)\"} 201326592"
}

# More than fit into one message of xenstore's, so that its DIRECTORY is answered by E2BIG or piece by piece.
check_list_among_a_thousand_domains() { # every boot
    needs_xmem
    nodes=
    id=20000
    while [ $id -lt 21000 ]; do
        nodes="$nodes /local/domain/$id/name ghost$id"
        id=$((id + 1))
    done
    trap 'xenstore-rm $(echo "$nodes" | sed "s|/name ghost[0-9]*||g")' EXIT
    # shellcheck disable=SC2086 # words
    xenstore-write $nodes
    expect 0 xmem list
    is "domains" "$(echo "$out" | sed -n '2,$s/^\([^ :]*\) .*/\1/p' | sort | xargs)" "Domain-0 g1 g2"
    expect 0 xmem set g1 128M
    is "target" "$(target g1)" 131072
    expect 3 xmem set ghost20999 128M
    expect 0 xmem check g1 g2
    ex=0
    xmem check >/tmp/out 2>&1 || ex=$?
    # oxenstored cannot send its list in pieces, and the device carries no more than a page.
    case $STORE,$VIA in
    ox*,bus) contains "what check says" "$(cat /tmp/out)" "too many domains to list them" ;;
    *) contains "what check says" "$(tail -n 5 /tmp/out)" 20999 ;;
    esac
    is_in_step g1
    is_tidy
}

check_growing_beyond_the_free_memory_is_warned_of() {
    needs_xmem
    settled_free
    expect 0 xmem set -n --raise-max --force g1 1T
    contains "stderr" "$err" "the host has only $free"
    # More than all of the host's memory is a typing error.
    expect 4 xmem set -n --raise-max g1 1T
}

check_check_repairs_a_limit() {
    needs_xmem
    expect 0 xmem check g1 g2
    # A writer that knows no limits.
    write_key g1 target 229376
    expect 9 xmem check g1
    contains "stdout" "$out" "out of step: the limit of 193 MiB is below the 225 MiB"
    contains "stdout" "$out" "fix: xmem check --repair $(domid_of g1)"
    expect 9 xmem check --repair -n g1
    is "limit after a dry run" "$(limit g1)" 197632
    expect 0 xmem check --repair g1
    is "limit" "$(limit g1)" 230400
    is_in_step g1
    expect 0 xmem check g1
    is_tidy
}

check_check_removes_stale_files() {
    needs_xmem
    stale=$state_dir/userdata-l.999.01234567-89ab-cdef-0123-456789abcdef.domain-userdata-lock
    : >"$stale"
    trap 'rm -f "$stale"' EXIT
    ex=0
    xmem check >/tmp/out 2>&1 || ex=$?
    contains "what check says" "$(cat /tmp/out)" "$stale"
    xmem check --repair >/tmp/out 2>&1 || ex=$?
    [ ! -e "$stale" ] || fail "it is still there: $(cat /tmp/out)"
}

# Leaves $free MiB of the host free, which is not much. A paused guest g3 has the rest.
fill_host() {
    settled_free
    expect 0 start_guest g3 pv $((free - 30)) $((free - 30)) -p
    free=$(free_mib)
    [ "$free" -lt 60 ] || fail "the host has $free MiB free, which is too much for this check"
}

# The host has too little free for g1 to grow before g2 has given back.
check_apply_moves_memory() {
    needs_xmem
    trap 'destroy g3' EXIT
    fill_host
    printf 'g1 256M\ng2 128M\n' >/tmp/plan
    expect 0 xmem apply -n /tmp/plan
    is "first of the plan" "$(echo "$out" | head -n 1 | cut -d ' ' -f 1)" g2
    expect 0 xmem apply /tmp/plan
    # Nothing is short: it waited.
    ! echo "$err" | grep -q "has only" || fail "the host was short: $err"
    is "targets" "$(target g1) $(target g2)" "262144 131072"
    follows g1 262144
    expect 0 xmem apply --json /tmp/plan
    is "unchanged domains" "$(echo "$out" | grep -c '"changed":false')" 2
    is_in_step g1
    is_in_step g2
    is_tidy
}

check_reclaim_makes_room_or_says_at_once_that_it_cannot() {
    needs_xmem
    before=$(numbers g1)
    settled_free
    goal=$((free + 60))
    expect 4 xmem reclaim $((goal + 400))M --from g1 g2 --floor 128M
    is "numbers" "$(numbers g1)" "$before"
    expect 0 xmem reclaim ${goal}M --from g1 g2 --floor 128M
    [ "$(free_mib)" -ge $goal ] || fail "the host has $(free_mib) MiB free, not $goal"
    is_in_step g1
    is_in_step g2
    is_tidy
    # It is there now.
    before=$(numbers g1)
    expect 0 xmem reclaim ${goal}M --from g1 g2 --floor 128M
    is "numbers" "$(numbers g1)" "$before"
}

# The one that needs more decides how much the host has in the end.
check_reclaim_two_at_once() {
    needs_xmem
    for round in 1 2 3; do
        less=$(($(free_mib) + 40)) more=$(($(free_mib) + 60))
        xmem reclaim ${less}M --from g1 g2 --floor 96M >/tmp/first 2>&1 &
        first=$!
        code=0
        xmem reclaim ${more}M --from g2 g1 --floor 96M >/tmp/second 2>&1 || code=$?
        is "exit code of the second of round $round, which says $(cat /tmp/second)" $code 0
        wait $first || code=$?
        is "exit code of the first of round $round, which says $(cat /tmp/first)" $code 0
        [ "$(free_mib)" -ge $more ] || fail "the host has $(free_mib) MiB free, not $more"
        for dom in g1 g2; do
            is_in_step $dom
            [ "$(target $dom)" -ge 98304 ] || fail "$dom is below its floor: $(numbers $dom)"
        done
        is_tidy
        echo "round $round: targets $(target g1) $(target g2)"
        xl mem-set g1 192
        xl mem-set g2 192
        follows g1 196608
        follows g2 196608
    done
}

# A guest of 40 MiB is created when g1 has given its share and g2, whose lock is held, has not: from the memory that is
# being freed.
reclaim_while_a_guest_is_created() { # CODE FLOOR
    needs_idle_kernel
    trap 'destroy g3 g4' EXIT
    fill_host
    goal=$((free + 100))
    hold g2 600
    xmem -v reclaim ${goal}M --from g1 g2 --floor "$2" --lock-timeout 600s >/tmp/out 2>&1 &
    reclaiming=$!
    eventually 120 xmem_waits || fail "it does not wait for the lock: $(cat /tmp/out)"
    follows g1 "$(target g1)"
    expect 0 start_guest g4 pvh 40 40 -p 'kernel="/guest/idle"'
    release
    code=0
    wait $reclaiming || code=$?
    free=$(free_mib)
    echo "exit code $code, $free MiB free: $(cat /tmp/out)"
    is "exit code" $code "$1"
    for dom in g1 g2; do
        is_in_step $dom
        [ "$(target $dom)" -ge $((${2%M} * 1024)) ] || fail "$dom is below its floor: $(numbers $dom)"
    done
    is_tidy
    said=$(sed -n 's/.*the host has \([0-9]*\).*/\1/p' /tmp/out | tail -n 1)
    [ "$said" -ge $((free - 1)) ] && [ "$said" -le $((free + 1)) ] || fail "it says $said MiB, and $free MiB are free"
}

check_reclaim_gives_more_for_a_guest_that_is_created_meanwhile() {
    needs_xmem
    reclaim_while_a_guest_is_created 0 96M
    [ "$free" -ge $goal ] || fail "the host has $free MiB free, not $goal"
}

check_reclaim_falls_short_for_a_guest_that_is_created_meanwhile() {
    needs_xmem
    reclaim_while_a_guest_is_created 8 128M
    contains "what it says" "$(cat /tmp/out)" "of $goal MiB available"
}

# With an interval of a minute, only a xenstore watch can have triggered it.
check_watch_shows_a_new_target_at_once() {
    needs_xmem
    xmem watch --json --interval 60s g1 >/tmp/watch.out 2>&1 &
    watcher=$!
    trap 'kill $watcher' EXIT
    shows() { grep -q "\"target_kib\":$1," /tmp/watch.out; }
    eventually 20 shows 196608 || fail "nothing seen: $(cat /tmp/watch.out)"
    expect 0 xl mem-set g1 160
    eventually 20 shows 163840 || fail "the new target was not seen: $(cat /tmp/watch.out)"
}

# In a terminal of its own. Whatever ends it, the terminal is left as it was found; here it is SIGTERM, since a shell's
# background processes, which all checks are, ignore Ctrl-C.
check_watch_in_a_terminal() {
    needs_xmem
    rm -f /tmp/keys /tmp/shown /tmp/modes /tmp/end
    mkfifo /tmp/keys
    [ "$VIA" != bus ] || export XENSTORED_PATH=$device
    cat >/tmp/session.sh <<EOF
stty rows 24 cols 100
stty -g >/tmp/modes
LANG=C.UTF-8 $program watch --interval 60s g1 g2
echo \$? >/tmp/end
stty -g >>/tmp/modes
EOF
    script -q -f -c "sh /tmp/session.sh" /tmp/shown </tmp/keys >/tmp/script.out 2>&1 &
    exec 9>/tmp/keys
    shows() { tail -c 2000 /tmp/shown | grep -q "$1"; }
    eventually 30 shows 'g1 .* 192' || fail "nothing is shown: $(cat /tmp/shown /tmp/script.out)"
    expect 0 xl mem-set g1 160
    eventually 30 shows 'g1 .* 160' || fail "the new target is not shown: $(cat -v /tmp/shown)"
    kill -TERM "$(pidof xmem)"
    eventually 30 test -s /tmp/end || fail "it goes on after SIGTERM"
    exec 9>&-
    is "exit code" "$(cat /tmp/end)" 143
    is "modes of the terminal" "$(sort -u /tmp/modes | wc -l)" 1
    contains "what is shown" "$(cat /tmp/shown)" "█"
    ! grep -q "$(printf '\033')\[?" /tmp/shown || fail "a mode of the terminal was changed: $(cat -v /tmp/shown)"
}

# On a serial console, which does not know its size.
check_watch_on_a_console() {
    needs_xmem
    strace -o /tmp/trace -s 4000 -e trace=write $program watch -c 3 --interval 300ms </dev/null >/dev/hvc0 \
        2>/tmp/watch.err || fail "left with $?: $(cat /tmp/watch.err)"
    is "stderr" "$(cat /tmp/watch.err)" ""
    is "frames with g1" "$(grep -c '^write(1, .*g1 ' /tmp/trace)" 3
}

check_every_change_is_in_the_system_log() {
    needs_xmem
    rm -f /tmp/syslog
    syslogd -n -O /tmp/syslog &
    logger=$!
    trap 'kill $logger; rm -f /dev/log' EXIT
    eventually 10 test -S /dev/log || fail "no syslogd"
    expect 0 xmem set g1 128M
    logged() { grep -q "xmem.*name=g1 target_kib=196608->131072 .*limit_kib=197632->132096" /tmp/syslog; }
    eventually 10 logged || fail "not in the log: $(cat /tmp/syslog)"
    expect 0 xmem set g1 128M
    is "lines about it" "$(grep -c name=g1 /tmp/syslog)" 1
}
