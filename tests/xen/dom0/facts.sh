# The task `facts`: prints what the hypervisor, xenstore and libxl's directory show of a domain in each state. It is for
# developers of the code that recognises the states, and checks nothing.
# Setting: FACTS, a pattern that selects sections by name.
. /check/lib.sh

# All domains but dom0: the hypervisor's lines, then xenstore's, then files.
print_domains() {
    domctl | grep -v '^domid 0 '
    for lo_id in $(xenstore-list /local/domain); do
        [ "$lo_id" != 0 ] || continue
        echo "  /local/domain/$lo_id: $(xenstore-ls -f "/local/domain/$lo_id" 2>/dev/null |
            sed "s|^/local/domain/$lo_id/||" |
            grep -E '^(name|vm|target|domid|memory/[a-z-]*|control/shutdown|device-model.*|console/(type|tty)|image/.*) ' | tr '\n' ';')"
    done
    for lo_id in $(xenstore-list /libxl 2>/dev/null); do
        echo "  /libxl/$lo_id: $(xenstore-ls -f "/libxl/$lo_id" | sed "s|^/libxl/$lo_id/||" | grep -Ev '^device(/|$| )' | tr '\n' ';')"
    done
    echo "  /vm: $(xenstore-ls -f /vm 2>/dev/null | sed -n 's|^/vm/\([^ ]*/[a-z_]*\) = \(.*\)|\1=\2|p' | grep -E '/(name|memory|start_time|uuid)=' | tr '\n' ';')"
    echo "  files: $(cd /var/lib/xen && ls -d userdata-* 2>/dev/null | tr '\n' ' ')"
}

# The lines in which differences count.
key() { # FILE
    sed -e 's/ held [0-9]*//; s/ cpu_ns [1-9][0-9]*/ cpu_ns N/; s/state [a-z,-]*\(blocked\|running\)/state \1/; s/ pod [^ ]*//' "$1"
}

begun() {
    read -r bg _ </proc/uptime
    echo "$bg"
}

# Runs a command in steps: it is stopped every few hundredths of a second, and changes are printed.
step_through() { # STEP COMMAND...
    st_step=$1
    shift
    echo "\$ $*"
    setsid "$@" >/tmp/stepped 2>&1 </dev/null &
    st_pid=$!
    : >/tmp/last
    while grep -q '^State:.[^Z]' /proc/$st_pid/status 2>/dev/null; do
        sleep "$st_step"
        kill -STOP -$st_pid 2>/dev/null
        print_domains >/tmp/now
        kill -CONT -$st_pid 2>/dev/null
        key /tmp/now >/tmp/key
        cmp -s /tmp/key /tmp/last || { echo "-- at $(begun)" && cat /tmp/now && cp /tmp/key /tmp/last; }
    done
    wait $st_pid
    echo "exit code $? $(tail -n 3 /tmp/stepped | tr '\n' '|')"
    echo "-- afterwards" && print_domains
}

section() { # NAME
    echo "$1" | grep -Eq -- "${FACTS:-.}" || return 1
    echo
    echo "==== $1 ($(begun))"
}

clean() {
    for cl in $(xl list | awk 'NR > 2 { print $2 }'); do xl destroy "$cl"; done
    rm -f /var/log/xen/console/guest-*.log
}

up() { # NAME pv|pvh [OPTION...]
    up_name=$1 up_type=$2
    shift 2
    rm -f "$(console_of "$up_name")"
    start_guest "$up_name" "$up_type" 128 160 "$@"
    wait_for_guest "$up_name" || { echo "$up_name did not come up" && tail -n 5 "$(console_of "$up_name")"; }
}

show() {
    echo "-- $*"
    print_domains
    xl list
}

section "create paused, PV" && {
    guest_config g1 pv 128 160 >/tmp/g1.cfg
    step_through 0.02 xl create -q -p /tmp/g1.cfg
    xl list
    xl unpause g1
    show "just unpaused"
    clean
}
section "create paused, PVH with populate on demand" && {
    guest_config g2 pvh 128 160 >/tmp/g2.cfg
    step_through 0.02 xl create -q -p /tmp/g2.cfg
    xl list
    xl unpause g2
    show "just unpaused"
    wait_for_guest g2
    show "started"
    clean
}
section "running, paused, saved, restored, PV" && {
    up g1 pv
    show "running"
    xl pause g1
    show "paused while running"
    xl unpause g1
    step_through 0.05 xl save g1 /tmp/saved
    step_through 0.02 xl restore /tmp/saved
    clean
    xl restore -p /tmp/saved
    show "restored, paused"
    clean
    up g1 pv
    xl save -c g1 /tmp/saved
    show "saved with -c: goes on"
    clean
    up g1 pv
    xl save -p g1 /tmp/saved
    show "saved with -p: stays paused"
    rm -f /tmp/saved
    clean
}
section "migrated to the same host, PV" && {
    up g1 pv
    step_through 0.05 xl migrate -s '' g1 'xl migrate-receive'
    clean
}
section "migrated to the same host, PVH" && {
    up g2 pvh
    step_through 0.05 xl migrate -s '' g2 'xl migrate-receive'
    clean
}
section "rebooted" && {
    up g1 pv
    show "before"
    xl reboot -F g1
    i=0
    : >/tmp/last
    while [ $i -lt 60 ]; do
        i=$((i + 1))
        print_domains >/tmp/now
        key /tmp/now >/tmp/key
        cmp -s /tmp/key /tmp/last || { echo "-- at $(begun)" && cat /tmp/now && cp /tmp/key /tmp/last; }
        sleep 0.1
    done
    clean
}
section "shut down, kept" && {
    up g1 pv 'on_poweroff="preserve"'
    xl sysrq g1 o
    eventually 60 sh -c 'xl list | grep -q -e "--s"'
    show "shut down"
    xl list -v
    clean
    # Without ACPI, a PVH guest cannot power off: its kernel halts.
    up g2 pvh 'on_reboot="preserve"'
    xl sysrq g2 b
    eventually 60 sh -c 'xl list | grep -q -e "--s"'
    show "rebooting, kept, PVH"
    clean
}
section "crashed, kept" && {
    up g1 pv 'on_crash="preserve"'
    xl sysrq g1 c
    eventually 60 sh -c 'xl list | grep -q -e "--sc"'
    show "crashed"
    xl list -v
    clean
    up g2 pvh 'on_crash="preserve"'
    xl sysrq g2 c
    eventually 60 sh -c 'xl list | grep -q -e "--sc"'
    show "crashed, PVH"
    clean
}
section "zombie" && {
    start_guest g1 pv 128 160 -p
    kill -STOP "$(pidof xenconsoled)"
    step_through 0.05 xl destroy g1
    show "zombie"
    xl list -v
    kill -CONT "$(pidof xenconsoled)"
    eventually 30 sh -c '! domctl | grep -q -v "^domid 0 "'
    show "gone"
}
section "destroyed while running" && {
    up g1 pv
    step_through 0.02 xl destroy g1
}
section "claims" && {
    start_guest g1 pv 128 160 -p
    id=$(xl domid g1)
    xl mem-max g1 256
    free=$(xl info | grep free_mem)
    domctl claim "$id" 65536
    show "64 MiB claimed; before: $free"
    xl info | grep -E 'free_mem|outstanding'
    domctl claim "$id" 0
    domctl "$id"
    clean
}
section "device model domain by nodes" && {
    start_guest g1 pv 96 96 -p
    start_guest g1-dm pv 96 96 -p
    id=$(xl domid g1) dm=$(xl domid g1-dm)
    xenstore-write "/local/domain/$dm/target" "$id" "/local/domain/$id/image/device-model-domid" "$dm"
    show "device model of $id by nodes"
    clean
}
section "dom0" && {
    domctl 0
    xenstore-ls -f /local/domain/0 | head -n 20
    xl list -v
}
echo "done"
