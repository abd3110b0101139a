# What xmem needs of a process: no capability at all, but four files. Each one missing is named, and nothing is changed.

store_socket=/run/xenstored/socket

# Runs a program as root with no capability, nor a way to one. Not busybox's setpriv, which leaves the bounding set.
bare() { # COMMAND...
    /usr/bin/setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
}

bare_xmem() {
    bare env ${way:+"$way"} $program "$@"
}

user_xmem() {
    su -s /bin/sh nobody -c "env $way $program $*"
}

# $way leads xmem to the store as this boot wants it; $door is what has to be open for that.
know_the_way() {
    way='' door=$store_socket
    [ "$VIA" != bus ] || way=XENSTORED_PATH=$device door=$device
}

# Opens to nobody's group what xmem needs, and closes it again at the end.
open_to_user() {
    trap 'close_to_user' EXIT
    chgrp nogroup /dev/xen/privcmd /dev/xen/hypercall "$door" $state_dir
    chmod g+rw /dev/xen/privcmd /dev/xen/hypercall "$door"
    chmod g+rwx $state_dir
}

close_to_user() {
    chgrp root /dev/xen/privcmd /dev/xen/hypercall "$door" $state_dir
    chmod 600 /dev/xen/privcmd /dev/xen/hypercall "$door"
    chmod 755 $state_dir
}

# Every command, changing and looking, does its work for this caller.
all_commands_work() { # XMEM
    expect 0 "$1" set g1 128M
    is "target" "$(target g1)" 131072
    is_in_step g1
    expect 0 "$1" max g2 300M
    is "static-max" "$(static_max g2)" 307200
    expect 0 "$1" list
    contains "list" "$out" "g2"
    # Some things are worth knowing, and none is out of step.
    expect 0 "$1" check
    expect 0 "$1" check --repair g1
    echo "g1 160" >/tmp/plan
    chmod 644 /tmp/plan
    expect 0 "$1" apply /tmp/plan
    is "target" "$(target g1)" 163840
    expect 0 "$1" watch --count 1 --json
    is_tidy
}

# Every command fails for the user nobody and names FILE, which is missing. Commands that only read may need less:
# LOOK is their exit code.
is_named() { # FILE LOOK
    before=$(numbers g1)
    for words in "set g1 128M" "max g1 300M" "apply /tmp/plan"; do
        expect 7 user_xmem "$words"
        contains "stderr" "$err" "$1"
        contains "stderr" "$err" "Permission denied"
        contains "stderr" "$err" "nothing changed"
        contains "stderr" "$err" "hint: run xmem as root"
    done
    for words in list check; do
        expect "$2" user_xmem $words
        [ "$2" = 0 ] || contains "stderr" "$err" "$1"
    done
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_privilege_root_without_capabilities() {
    needs_xmem
    know_the_way
    got=$(bare grep -E '^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '\n\t')
    zeros=0000000000000000
    is "privilege" "$got" "CapPrm:${zeros}CapEff:${zeros}CapBnd:${zeros}CapAmb:${zeros}NoNewPrivs:1"
    all_commands_work bare_xmem
}

check_privilege_user_who_was_let_in() {
    needs_xmem
    know_the_way
    open_to_user
    all_commands_work user_xmem
    # libxl's files belong to root: while xl has the lock, such a user is refused and cannot wait.
    flock -o "$(lock_file g1)" sleep 300 &
    holder=$!
    eventually 30 grep -q "FLOCK.* $holder " /proc/locks || fail "the lock was not to be had for this check"
    expect 7 user_xmem set --lock-timeout 1s g1 128M
    contains "stderr" "$err" "$(lock_file g1)"
    rm -f "$(lock_file g1)"
    kill $holder
}

check_privilege_each_file_is_named() {
    needs_xmem
    know_the_way
    echo "g1 160" >/tmp/plan
    chmod 644 /tmp/plan
    open_to_user
    for file in /dev/xen/privcmd /dev/xen/hypercall "$door"; do
        chmod 600 "$file"
        is_named "$file" 7
        chmod 660 "$file"
    done
    # Commands that only read write nothing.
    chmod g-w $state_dir
    is_named $state_dir 0
    # Without a way in, there is nothing to be seen of others' changes: list shows the rest, check cannot judge.
    chmod g=r,o= $state_dir
    expect 7 user_xmem set g1 128M
    contains "stderr" "$err" "$state_dir"
    expect 0 user_xmem list --json
    ! echo "$out" | grep -q interrupted-change || fail "it reports a change that it cannot see: $out"
    for words in check "check g1"; do
        expect 7 user_xmem "$words"
        contains "stderr" "$err" "cannot read the directory $state_dir"
        contains "stderr" "$err" "hint: "
    done
    # It can be searched, and not listed.
    chmod g=wx $state_dir
    expect 7 user_xmem check g1
    expect 7 user_xmem check
    expect 0 user_xmem set g1 128M
    is_in_step g1
    is_tidy
}

# Root needs CAP_DAC_OVERRIDE, and nothing else, where even root is kept out by the directory's mode.
check_privilege_folder_closed_to_root() {
    needs_xmem
    know_the_way
    before=$(numbers g1)
    trap 'chmod 755 $state_dir' EXIT
    chmod 000 $state_dir
    expect 7 bare_xmem set g1 128M
    contains "stderr" "$err" "$state_dir"
    expect 7 bare_xmem check
    is "numbers" "$(numbers g1)" "$before"
    expect 0 xmem set g1 128M
    is_in_step g1
    is_tidy
}

# Old kernels have no /dev/xen/hypercall: a page is locked in its place, which `ulimit -l` can forbid.
check_privilege_locked_page() {
    needs_xmem
    know_the_way
    open_to_user
    mv /dev/xen/hypercall /dev/xen/away
    trap 'mv /dev/xen/away /dev/xen/hypercall; close_to_user' EXIT
    expect 0 user_xmem set g1 128M
    locked_in() { (ulimit -l 0 && "$@"); }
    expect 7 locked_in user_xmem set g1 160M
    contains "stderr" "$err" "/dev/xen/hypercall"
    contains "stderr" "$err" "ulimit -l"
    # Root is above that limit by a capability, CAP_IPC_LOCK.
    expect 7 locked_in bare_xmem set g1 160M
    expect 0 locked_in xmem set g1 160M
    is_in_step g1
    is_tidy
}

# A limit on files, which a caller of sudo can hand on: the record cannot be written, and the run ends by SIGXFSZ with
# nothing changed and nothing left behind. By a pipe, since this shell's files would be limited as well.
check_privilege_no_file_may_grow() {
    needs_xmem
    know_the_way
    before=$(numbers g1)
    {
        code=0
        (ulimit -f 0 && env ${way:+"$way"} $program set g1 128M) 2>&1 || code=$?
        echo "exit code $code"
    } | cat >/tmp/out
    out=$(cat /tmp/out)
    contains "its words" "$out" "File too large"
    contains "its words" "$out" "nothing changed"
    contains "its end" "$out" "exit code 153"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}
