# Every system call of a change fails, returns a false result, or is the last before a kill: by strace, on the shipped
# program. One in STRIDE of these points is tried, from one that SEED chooses; `--stride 1` tries all.
#
# The steps are small, since a guest that follows takes long.
#
# Sets up the change to interrupt, from target 192 MiB and maximum 256 MiB: $words are its arguments, $dom its domain,
# and $done_numbers the numbers after it succeeds.

# The calls that reach xenstore, the hypervisor and the state directory.
talk="sendto sendmsg write ppoll read recvfrom ioctl flock unlink rename openat open fsync socket connect setsockopt signalfd4 statx"

change() { # DOM WORDS...
    dom=$1 words=$*
    words="${words#* }"
    reset_guests "$dom"
    # shellcheck disable=SC2086 # a list of words
    traced -- $words || fail "the run without faults failed with exit code $?"
    done_numbers=$(numbers "$dom")
}

# Calls FUNCTION NAME NUMBER for each point, and sets $tried to the number of points tried. A point that a run does not
# reach is not counted.
at_every_point() { # FUNCTION [NAME...]: these calls only
    ae_function=$1
    shift
    calls "$@" >/tmp/calls
    echo "calls: $(tr '\n' ' ' </tmp/calls)"
    points_at_the_commit
    point=0 tried=0
    while read -r name count <&4; do
        number=0
        while [ $number -lt "$count" ]; do
            number=$((number + 1))
            point=$((point + 1))
            case $vital in
            *" $name:$number "*) ;;
            *) [ $(((point + SEED) % STRIDE)) = 0 ] || continue ;;
            esac
            reset_guests "$dom"
            "$ae_function" "$name" $number
        done
    done 4</tmp/calls
    reset_guests "$dom"
    is_tidy
}

# $vital: the last hypercall, the commit and its reply, which are always tried.
points_at_the_commit() {
    vital=" "
    for name in sendto write ioctl; do
        vital="$vital$name:$(calls_until_commit $name) "
    done
    for name in ppoll read recvfrom; do
        vital="$vital$name:$(($(calls_until_commit $name) + 1)) "
    done
}

# The errnos with which a call can fail without having had an effect.
errnos_of() { # NAME
    case $1 in
    ioctl) echo EPERM ENOMEM ESRCH EFAULT EINVAL EAGAIN EINTR ;;
    open* | socket | signalfd4) echo EMFILE EACCES EIO ENFILE ENOMEM ;;
    flock) echo EINTR ENOLCK EIO ;;
    rename | unlink | statx) echo EIO EACCES EROFS ENOSPC ;;
    *) echo EIO EINTR ENOSPC EAGAIN EPIPE ECONNRESET ENOMEM ;;
    esac
}

# With one of these errnos, which SEED chooses; with `--every-way`, with each.
fails() { # NAME NUMBER
    fa_at="$1 $2"
    # shellcheck disable=SC2046 # a list of words
    set -- $(errnos_of "$1")
    if [ "$WAYS" = one ]; then
        shift $(((${fa_at#* } + SEED / 7) % $#))
        set -- "$1"
    fi
    for errno in "$@"; do
        # shellcheck disable=SC2086 # two words
        inject "fails with $errno" "error=$errno" $fa_at
        [ $# = 1 ] || reset_guests "$dom"
    done
}

# A call that is skipped and returns 0, 1, or the full count. The loss must not lead to a false success.
false_result() { # NAME NUMBER
    case $1:$((($2 + SEED) % 3)) in
    *:0) result=0 ;;
    sendto:1) result=4096 ;;
    *) result=1 ;;
    esac
    inject "returns $result" retval=$result "$1" "$2"
}

# Whatever the call does instead, the run reports the outcome, and the next run succeeds.
inject() { # WHAT-IT-DOES STRACE-WORDS NAME NUMBER
    before=$(numbers "$dom")
    code=0
    # shellcheck disable=SC2086 # a list of words
    traced -e inject="$3:$2:when=$4" -- $words --lock-timeout 20s >/tmp/out 2>/tmp/err || code=$?
    echo "$3 $4 $1: exit code $code. $(cat /tmp/err)"
    ! grep -q INJECTED /tmp/trace || tried=$((tried + 1))
    verify_outcome "$words: $3 $4 $1" $code "$dom" "$done_numbers" "$before"
    [ "$(numbers "$dom")" = "$before" ] || next_run_recovers "after: $3 $4 $1" "$dom" 192M
}

killed() { # NAME NUMBER
    # shellcheck disable=SC2086 # a list of words
    traced -e inject="$1:signal=SIGKILL:when=$2" -- $words >/tmp/out 2>/tmp/err || true
    ! grep -q 'killed by SIGKILL' /tmp/trace || tried=$((tried + 1))
    what="$words, killed at $1 $2"
    in_step "$dom" >/tmp/step || [ -e "$(intent_file "$dom")" ] ||
        fail "$what: $(cat /tmp/step), but no record is left for the next run"
    # What follows: the same change, another size, a repair, an xl that knows no record, or a refused change. The last
    # one sets nothing itself, so being in step means recovered.
    case $(((point + SEED) % 5)) in
    # shellcheck disable=SC2086 # a list of words
    0) recovers "$what" "$dom" xmem $words ;;
    1) recovers "$what" "$dom" xmem set "$dom" 188M ;;
    2) recovers "$what" "$dom" xmem check --repair ;;
    3)
        xl mem-set "$dom" 190 || fail "$what: xl left with $?"
        in_step "$dom" >/tmp/step || fail "$what, then xl: $(cat /tmp/step)"
        recovers "$what, then xl" "$dom" xmem check --repair
        ;;
    4)
        code=0
        xmem set --lock-timeout 20s "$dom" 1G >/tmp/next.out 2>&1 || code=$?
        is "exit code of a refused change" $code 4
        in_step "$dom" >/tmp/step || fail "$what: not recovered: $(cat /tmp/step) It printed: $(cat /tmp/next.out)"
        recovers "$what" "$dom" xmem check --repair
        ;;
    esac
}

every_failure() { # DOM WORDS...
    needs_xmem
    change "$@"
    # shellcheck disable=SC2086 # a list of words
    at_every_point fails $talk
    figure $tried "failures of a system call, each with the right exit code"
}

every_false_result() { # DOM WORDS...
    needs_xmem
    change "$@"
    at_every_point false_result sendto write ppoll read recvfrom
    figure $tried "false results of a system call, none with a false success"
}

every_kill() { # DOM WORDS...
    needs_xmem
    change "$@"
    at_every_point killed
    figure $tried "kills at a system call, each recovered by the next command"
}

check_fault_fails_pv_down() { every_failure g1 set g1 184M; } # every boot
check_fault_fails_pv_up() { every_failure g1 set g1 200M; }
check_fault_fails_pv_raise() { every_failure g1 set --raise-max g1 260M; }
check_fault_fails_pv_max() { every_failure g1 max g1 300M; }
check_fault_fails_pvh_down() { every_failure g2 set g2 184M; }
check_fault_fails_pvh_up() { every_failure g2 set g2 200M; }
check_fault_fails_pvh_raise() { every_failure g2 set --raise-max g2 260M; }
check_fault_fails_pvh_max() { every_failure g2 max g2 300M; }

check_fault_false_result_pv_down() { every_false_result g1 set g1 184M; }
check_fault_false_result_pvh_raise() { every_false_result g2 set --raise-max g2 260M; }

check_fault_kills_pv_down() { every_kill g1 set g1 184M; }
check_fault_kills_pv_up() { every_kill g1 set g1 200M; }
check_fault_kills_pv_raise() { every_kill g1 set --raise-max g1 260M; }
check_fault_kills_pv_max() { every_kill g1 max g1 300M; }
check_fault_kills_pvh_down() { every_kill g2 set g2 184M; }
check_fault_kills_pvh_up() { every_kill g2 set g2 200M; }
check_fault_kills_pvh_raise() { every_kill g2 set --raise-max g2 260M; } # every boot
check_fault_kills_pvh_max() { every_kill g2 max g2 300M; }

# A PVH guest needs one more hypercall, for the populate-on-demand target. All of them are tried, whatever STRIDE is.
check_fault_hypercalls_refused_for_pvh() {
    x86_only "no populate on demand there"
    needs_xmem
    change g2 set g2 128M
    refused() { # ioctl NUMBER
        before=$(numbers g2)
        code=0
        traced -e inject="ioctl:error=ENOMEM:when=$2" -- set g2 128M >/tmp/out 2>/tmp/err || code=$?
        echo "hypercall $2 is refused: exit code $code. $(cat /tmp/err)"
        # If the store makes up conflicts, the number of hypercalls varies.
        ! grep -q INJECTED /tmp/trace || tried=$((tried + 1))
        verify_outcome "hypercall $2 is refused" $code g2 "$done_numbers" "$before"
    }
    STRIDE=1
    at_every_point refused ioctl
    # Find the domain, check it again, set the limit, set the populate-on-demand target.
    [ $tried -ge 4 ] || fail "only $tried refusals came"
}

# A state directory that is full: no room for the record, or for any file.
check_fault_state_directory_is_full() {
    needs_xmem
    before=$(numbers g1)
    mount -t tmpfs -o size=4k tmpfs $state_dir
    trap 'umount $state_dir' EXIT
    dd if=/dev/zero of=$state_dir/full bs=4096 count=4 2>/dev/null || true
    expect 1 xmem set g1 128M
    contains "stderr" "$err" "No space left"
    contains "stderr" "$err" "hint: "
    is "numbers" "$(numbers g1)" "$before"
    rm $state_dir/full
    is_tidy
    mount -o remount,ro $state_dir
    ex_got=0
    xmem set g1 128M >/tmp/out 2>/tmp/err || ex_got=$?
    echo "read-only: exit code $ex_got: $(cat /tmp/err)"
    [ $ex_got = 1 ] || [ $ex_got = 7 ] || fail "it left with $ex_got"
    is "numbers" "$(numbers g1)" "$before"
}

# Too few file descriptors: one more each time.
check_fault_out_of_file_descriptors() {
    needs_xmem
    change g1 set g1 128M
    most=3 tried=0 code=1
    while [ $code != 0 ]; do
        most=$((most + 1))
        [ $most -lt 30 ] || fail "with $most file descriptors it still fails with exit code $code: $(cat /tmp/err)"
        reset_guests g1
        before=$(numbers g1)
        code=0
        (ulimit -n $most && xmem set g1 128M) >/tmp/out 2>/tmp/err || code=$?
        echo "$most file descriptors: exit code $code: $(cat /tmp/err)"
        verify_outcome "$most file descriptors" $code g1 "$done_numbers" "$before"
        is_tidy
    done
    [ $most -gt 4 ] || fail "it never ran out of file descriptors"
}

# The result cannot be printed. Exit code 1 would claim that nothing changed.
check_fault_stdout_is_full() {
    needs_xmem
    before=$(numbers g1)
    code=0
    xmem set g1 128M >/dev/full 2>/tmp/err || code=$?
    echo "exit code $code. $(cat /tmp/err)"
    case $code in
    1) is "numbers after exit code 1" "$(numbers g1)" "$before" ;;
    esac
    is_in_step g1
    is_tidy
}

# A signal that arrives when the limit is set and nothing is committed.
comes_at_the_commit() { # SIGNAL CODE
    needs_xmem
    hold_before_commit g1 128
    is "target while it is stopped" "$(target g1)" 196608
    kill "-$1" "$held_pid"
    resume_held
    # oxenstored may make up a conflict for this commit; then nothing changes, and the commit is not repeated.
    expected=131072
    if [ "$STORE" = ox-eagain ] && grep -qE "nothing changed|rolled back" /tmp/err; then
        expected=196608
    fi
    is "exit code" $code "$2"
    is "target" "$(target g1)" $expected
    is_in_step g1
    is_tidy
}

check_fault_sigterm_at_the_commit_waits() { comes_at_the_commit TERM 143; } # every boot
check_fault_sighup_at_the_commit_waits() { comes_at_the_commit HUP 129; }
# In dom0's init all jobs, and their children, ignore SIGINT. xmem ignores SIGPIPE.
check_fault_sigint_ignored_at_the_commit() { comes_at_the_commit INT 0; }
check_fault_sigpipe_at_the_commit() { comes_at_the_commit PIPE 0; }

check_fault_xl_waits_for_the_held_run() { # every boot
    x86_only "xl sets no memory on Arm"
    needs_xmem
    hold_before_commit g1 128
    xl mem-set g1 160 >/tmp/xl.out 2>&1 &
    other=$!
    eventually 60 a_process_waits || fail "xl does not wait for the lock"
    is "target while both wait" "$(target g1)" 196608
    resume_held
    is "exit code" $code 0
    wait $other || fail "xl left with $?: $(cat /tmp/xl.out)"
    is "target" "$(target g1)" 163840
    is_in_step g1
    is_tidy
}

# Another program writes the target without the lock right before the commit: the commit conflicts, and xmem reads and
# plans again.
check_fault_target_written_at_the_commit() { # every boot
    needs_xmem
    hold_before_commit g1 128
    write_key g1 target 180224
    resume_held
    is "exit code" $code 0
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

# The same, but the new plan is refused: the limit must be rolled back.
check_fault_maximum_lowered_at_the_commit() { # every boot
    needs_xmem
    hold_before_commit g1 160
    write_key g1 static-max 147456
    write_key g1 target 147456
    resume_held
    is "exit code" $code 4
    is "target" "$(target g1)" 147456
    is "limit" "$(limit g1)" 197632
    is_tidy
}

# The domain is destroyed right before the commit. None of its nodes may be created again.
check_fault_domain_destroyed_at_the_commit() { # every boot
    needs_xmem
    expect 0 start_guest g4 pv 192 192 -p
    store_ids g4
    trap 'destroy g4' EXIT
    hold_before_commit g4 128
    place=/local/domain/$(domid_of g4)
    xl destroy g4 >/tmp/xl.out 2>&1 &
    destroyer=$!
    gone() { ! xenstore-exists "$place"; }
    eventually 60 gone || fail "xl destroy did not begin"
    resume_held
    wait $destroyer || echo "xl destroy left with $?: $(cat /tmp/xl.out)"
    trap - EXIT
    is "exit code" $code 3
    gone || fail "$place exists again: $(xenstore-ls "$place")"
    eventually 60 nothing_left || fail "left behind: $(leftovers)"
}
