# xenstored stops, hangs and dies. After the last of these checks there is no store any more, so they are the last of a
# boot, in this order.

stop_store() { kill -STOP "$(store_pid)"; }
go_on_store() { kill -CONT "$(store_pid)"; }
store_answers() { xenstore-read /local/domain/0/domid; }

# Runs xmem and keeps its exit code in $code; it must return in time, whatever the store does.
ends_in_time() { # XMEM-ARGUMENT...
    read_uptime
    begin=$uptime code=0
    xmem "$@" >/tmp/out 2>/tmp/err || code=$?
    read_uptime
    echo "exit code $code after $((uptime - begin)) s. $(cat /tmp/err)"
    [ $((uptime - begin)) -le 90 ] || fail "it took $((uptime - begin)) s"
}

# The shells' completions list every domain. An emulated machine may be too slow for that.
completions_are_listed() {
    [ "$(xmem __complete-domains | sed 's/^[0-9]* //' | sort | xargs)" = "Domain-0 g1 g2" ]
}

# Completion does not wait for a store that does not answer.
check_store_dies_0_completions() { # every boot
    needs_xmem
    eventually 60 completions_are_listed || fail "it said: $(xmem __complete-domains)"
    trap go_on_store EXIT
    stop_store
    ends_in_time __complete-domains
    [ $((uptime - begin)) -le 5 ] || fail "it took $((uptime - begin)) s"
    go_on_store
    is "exit code and output" "$code $(cat /tmp/out /tmp/err)" "0 "
    eventually 60 store_answers || fail "the store does not answer any more"
}

check_store_dies_1_stopped_before() { # every boot
    needs_xmem
    reset_guests g1
    before=$(numbers g1)
    trap go_on_store EXIT
    stop_store
    ends_in_time set g1 128M
    go_on_store
    [ $code != 0 ] || fail "exit code 0"
    eventually 60 store_answers || fail "the store does not answer any more"
    verify_outcome "xenstored stopped" $code g1 "(never: the store was stopped)" "$before"
    next_run_recovers "after xenstored was stopped" g1 160M
}

check_store_dies_2_stopped_at_the_commit() { # every boot
    needs_xmem
    reset_guests g1
    hold_before_commit g1 128
    trap go_on_store EXIT
    stop_store
    resume_held
    # Not earlier: xl would wait for a place in the stopped daemon's backlog.
    go_on_store
    left=$(limit_by_hypervisor g1)
    is "exit code" $code 9
    [ -e "$(intent_file g1)" ] || fail "no record is left for the next run"
    contains "stderr" "$(cat /tmp/err)" "out of step"
    contains "stderr" "$(cat /tmp/err)" "hint: "
    # With the larger limit, the guest has room for either target.
    is "limit" "$left" 197632
    eventually 60 store_answers || fail "the store does not answer any more"
    next_run_recovers "after xenstored was stopped at the commit" g1 160M
}

# C xenstored dies before it receives the commit. oxenstored dies after it has committed and before xmem has read the
# reply.
check_store_dies_3_killed_at_the_commit() { # every boot
    needs_xmem
    [ "$STORE" != ox-eagain ] || skip "this daemon may answer the commit with a made-up conflict"
    reset_guests g1
    case $STORE in
    c) hold_before_commit g1 128 ;;
    *) hold_after_commit g1 128 ;;
    esac
    kill -KILL "$(store_pid)"
    resume_held
    left=$(limit_by_hypervisor g1)
    echo "limit $left"
    case $STORE,$code in
    c,0) fail "exit code 0, but the daemon died before it received the commit" ;;
    *,0) is "limit" "$left" 132096 ;;
    *,9)
        # The larger limit.
        is "limit" "$left" 197632
        contains "stderr" "$(cat /tmp/err)" "out of step"
        [ -e "$(intent_file g1)" ] || fail "no record is left for the next run"
        ;;
    c,*) is "limit" "$left" 197632 ;;
    *) fail "exit code $code claims that nothing changed, but the commit was made" ;;
    esac
}

check_store_dies_4_no_daemon() { # every boot
    needs_xmem
    [ ! -e "/proc/$(store_pid)" ] || kill -KILL "$(store_pid)"
    before=$(limit_by_hypervisor g1)
    ends_in_time set g1 144M
    is "exit code" $code 7
    contains "stderr" "$(cat /tmp/err)" "hint: "
    is "limit" "$(limit_by_hypervisor g1)" "$before"
}
