# The privileges that xmem needs: no capability, only access to four files. Each missing one is named, and nothing
# changes.

store_socket=/run/xenstored/socket

# Runs a program as root without capabilities and without a way to gain any. busybox's setpriv would leave the
# bounding set.
bare() { # COMMAND...
    /usr/bin/setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
}

bare_xmem() {
    bare env ${way:+"$way"} $program "$@"
}

user_xmem() {
    su -s /bin/sh nobody -c "env $way $program $*"
}

# $way makes xmem use this boot's connection to the store; $door is the file that this needs.
set_connection() {
    way='' door=$store_socket
    [ "$VIA" != bus ] || way=XENSTORED_PATH=$device door=$device
}

# Opens the files that xmem needs to the group nobody, and closes them at the end.
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

# Every command succeeds for this caller.
all_commands_work() { # XMEM
    expect 0 "$1" set g1 128M
    is "target" "$(target g1)" 131072
    is_in_step g1
    expect 0 "$1" max g2 300M
    is "static-max" "$(static_max g2)" 307200
    expect 0 "$1" list
    contains "list" "$out" "g2"
    # Notices are allowed; nothing may be out of step.
    expect 0 "$1" check
    expect 0 "$1" check --repair g1
    echo "g1 160" >/tmp/plan
    chmod 644 /tmp/plan
    expect 0 "$1" apply /tmp/plan
    is "target" "$(target g1)" 163840
    expect 0 "$1" watch --count 1 --json
    is_tidy
}

# Every command fails for the user nobody and names FILE, which is missing. Commands that only read may need less: LOOK
# is their exit code.
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
    set_connection
    got=$(bare grep -E '^(CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '\n\t')
    zeros=0000000000000000
    is "privilege" "$got" "CapPrm:${zeros}CapEff:${zeros}CapBnd:${zeros}CapAmb:${zeros}NoNewPrivs:1"
    all_commands_work bare_xmem
}

check_privilege_user_with_access_to_the_files() {
    needs_xmem
    set_connection
    open_to_user
    all_commands_work user_xmem
    # libxl's files belong to root, so while xl holds the lock, such a user is refused and cannot wait.
    flock -o "$(lock_file g1)" sleep 300 &
    holder=$!
    eventually 30 grep -q "FLOCK.* $holder " /proc/locks || fail "this check could not take the lock"
    expect 7 user_xmem set --lock-timeout 1s g1 128M
    contains "stderr" "$err" "$(lock_file g1)"
    rm -f "$(lock_file g1)"
    kill $holder
}

check_privilege_each_file_is_named() {
    needs_xmem
    set_connection
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
    # If the directory cannot be searched, records cannot be read: list shows the rest, check fails.
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
    # It can be searched but not listed.
    chmod g=wx $state_dir
    expect 7 user_xmem check g1
    expect 7 user_xmem check
    expect 0 user_xmem set g1 128M
    is_in_step g1
    is_tidy
}

# Where the directory's mode excludes even root, root needs CAP_DAC_OVERRIDE and nothing else.
check_privilege_state_directory_closed_to_root() {
    needs_xmem
    set_connection
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

# Old kernels have no /dev/xen/hypercall: a locked page is used in its place, which `ulimit -l` can forbid.
check_privilege_locked_page() {
    needs_xmem
    set_connection
    open_to_user
    mv /dev/xen/hypercall /dev/xen/away
    trap 'mv /dev/xen/away /dev/xen/hypercall; close_to_user' EXIT
    expect 0 user_xmem set g1 128M
    locked_in() { (ulimit -l 0 && "$@"); }
    expect 7 locked_in user_xmem set g1 160M
    contains "stderr" "$err" "/dev/xen/hypercall"
    contains "stderr" "$err" "ulimit -l"
    # Root exceeds that limit by CAP_IPC_LOCK.
    expect 7 locked_in bare_xmem set g1 160M
    expect 0 locked_in xmem set g1 160M
    mv /dev/xen/away /dev/xen/hypercall
    trap close_to_user EXIT
    is_in_step g1
    is_tidy
}

# A limit on file sizes, which sudo can pass on: the record cannot be written, and SIGXFSZ ends the run with nothing
# changed or left behind. Through a pipe, since this shell's own files would be limited as well.
check_privilege_file_size_limit_changes_nothing() {
    needs_xmem
    set_connection
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
