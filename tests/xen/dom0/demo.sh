# The task `demo`: one guest, a few commands, and its memory before and after, as each tool shows it.
. /check/lib.sh

# Prints a command as typed, and its output.
show() { # COMMAND
    echo
    echo "dom0# $1"
    eval "$1" 2>&1
    sleep 1
}

guest_report() {
    show "tail -n 1 $(console_of g1)"
}

echo "Xen $(xen_release), dom0: Linux $(uname -r), store: $STORE. Starting a guest with 192 MiB ..."
start_guests g1 || exit
store_ids g1
place=/local/domain/$(domid_of g1)/memory

show "xl list"
show "xenstore-ls $place"
show "xentop -b -i 1 | awk '{ print \$1, \$5, \$7 }'"
guest_report
show "xmem set g1 128M"
show "xenstore-read $place/target"
show "xentop -b -i 1 | awk '{ print \$1, \$5, \$7 }'"
eventually 30 holds_between g1 130000 133000
show "xl list"
guest_report
show "xmem --json set g1 +64M"
eventually 30 holds_between g1 190000 200000
show "xl list"
guest_report
show "xmem set g1 1G; echo exit code \$?"
