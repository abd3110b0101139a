# Starting guests, and bringing them into every state of a domain. Sourced.
#   g1   a PV guest             g2   a PVH guest, populated on demand
# Both: memory 192 MiB, at most 256 MiB. Each prints its memory on its console (see console_of).
# On arm64 both are PVH and start with their maximum, since nothing else can be built there.

guest_config() { # NAME pv|pvh MEMORY MAXMEM
    [ "$ARCH" = x86 ] || set -- "$1" "$2" "$4" "$4"
    echo "name = '$1'"
    case $ARCH-$2 in
    arm64-*) echo "type = 'pvh'" ;;
    x86-pvh) printf "type = 'pvh'\nacpi = 0\n" ;;
    esac
    echo "kernel = '/guest/vmlinux'"
    echo "ramdisk = '/guest/initrd.gz'"
    echo "extra = 'console=hvc0 quiet sysrq_always_enabled cryptomgr.notests rodata=off'"
    echo "memory = $3"
    echo "maxmem = $4"
    echo "vcpus = 1"
}

console_of() { # NAME
    echo "/var/log/xen/console/guest-$1.log"
}

# Starts a guest; further words go to `xl create`: -p leaves it paused, 'on_crash="preserve"' is added to its
# configuration.
start_guest() { # NAME pv|pvh MEMORY MAXMEM [OPTION...]
    sg_name=$1
    guest_config "$1" "$2" "$3" "$4" >"/tmp/$1.cfg"
    shift 4
    xl create -q "$@" "/tmp/$sg_name.cfg"
}

# The same, and waits until it runs.
run_guest() { # NAME pv|pvh MEMORY MAXMEM [OPTION...]
    rm -f "$(console_of "$1")"
    start_guest "$@" || return 1
    wait_for_guest "$1" || return 1
    store_ids "$1"
}

# For the end of a check, however it went.
destroy() { # NAME...
    for de in "$@"; do
        command xl destroy "$de" >/dev/null 2>&1 || true
    done
}

# Domains idleN that are only listed: a kernel of one instruction, never unpaused.
needs_idle_kernel() {
    [ -e /guest/idle ] || skip "this machine has no kernel for idle domains"
}

start_idle() { # FROM TO
    si_number=$1
    while [ "$si_number" -le "$2" ]; do
        {
            echo "name = 'idle$si_number'"
            echo "type = 'pvh'"
            echo "kernel = '/guest/idle'"
            echo "memory = 4"
            echo "vcpus = 1"
        } >/tmp/idle.cfg
        xl create -q -p /tmp/idle.cfg >/tmp/err 2>&1 || {
            echo "idle$si_number was not created: $(tr '\n' ' ' </tmp/err)"
            return 1
        }
        si_number=$((si_number + 1))
    done
}

destroy_idle() { # TO
    di_number=0
    while [ $di_number -lt "$1" ]; do
        di_number=$((di_number + 1))
        destroy "idle$di_number"
    done
}

# Under emulation, a PVH guest's kernel sometimes dies, whatever is done to it. It takes a page fault in its own page
# fault handler, where it reads through GS, until the stack is full. No check is to blame for that.
dies_of_emulation='stack guard page was hit'

# Prints the consoles of the guests that died that way.
died_of_emulation() {
    grep -ls "$dies_of_emulation" "$(console_of g1)" "$(console_of g2)"
}

# Waits until the guest's init runs: by then its balloon driver follows the target.
wait_for_guest() { # NAME
    eventually 240 grep -q -e '^guest: ready' -e "$dies_of_emulation" "$(console_of "$1")"
    grep -q '^guest: ready' "$(console_of "$1")"
}

start_guests() { # NAME...: any of g1 and g2, at the same time
    for ss in "$@"; do
        case $ss in
        g1) start_guest g1 pv 192 256 >/tmp/g1.log 2>&1 & ;;
        g2) start_guest g2 pvh 192 256 >/tmp/g2.log 2>&1 & ;;
        esac
    done
    wait
    for ss in "$@"; do
        if ! wait_for_guest "$ss"; then
            echo "guest $ss did not come up"
            cat "/tmp/$ss.log" "$(console_of "$ss")"
            return 1
        fi
        store_ids "$ss"
    done
}

# A domain in the hypervisor: flag paused DOM; field cpu_ns DOM. See programs/domctl.c.
flag() { # FLAG DOM
    load_ids "$2"
    domctl "$domid" | grep -q "state [a-z,]*$1,"
}

field() { # NAME DOM
    load_ids "$2"
    domctl "$domid" | sed -n "s/.* $1 \([^ ]*\).*/\1/p"
}

stopped_for() { # REASON DOM
    [ "$(field reason "$2")" = "$1" ]
}

# Shuts a guest down, or crashes it, and keeps it: it must have on_poweroff="preserve" or on_crash="preserve".
# A PVH guest without ACPI cannot power off.
shut_down() { # DOM
    command xl sysrq "$1" o
    eventually 120 stopped_for 0 "$1"
}

crash() { # DOM
    command xl sysrq "$1" c
    eventually 120 stopped_for 3 "$1"
}

# By its own kernel. xl makes a successor, and DOM is that one from now on.
reboot_guest() { # DOM
    command xl sysrq "$1" b
    eventually 120 has_successor "$1" || return 1
    store_ids "$1"
}

has_successor() { # DOM
    load_ids "$1"
    hs_id=$(xl domid "$1") && [ "$hs_id" != "$domid" ] && [ -e "$state_dir/userdata-d.$hs_id.$uuid.libxl-json" ]
}

# Suspended as during a save, for as long as the check needs: the process that copies the memory is stopped. resume_save
# lets the save finish, after which the domain is gone.
suspend() { # DOM FILE
    command xl save "$1" "$2" >/tmp/save.log 2>&1 &
    saver=$!
    eventually_quick 6000 stopped_for 2 "$1" || return 1
    kill -STOP $(pidof libxl-save-helper xl)
    stopped_for 2 "$1"
}

resume_save() {
    kill -CONT $(pidof libxl-save-helper xl)
    wait $saver
}

# A domain in the middle of being built: xl is stopped when the domain exists and has no memory keys yet.
# finish_build lets it continue.
start_build() { # COMMAND...: xl create ..., xl restore ...
    sb_last=$(domctl | tail -n 1 | cut -d ' ' -f 2)
    setsid "$@" >/tmp/build.log 2>&1 </dev/null &
    builder=$!
    eventually_quick 600 is_being_built || return 1
}

is_being_built() {
    kill -STOP -$builder 2>/dev/null
    ib_id=$(domctl | tail -n 1 | cut -d ' ' -f 2)
    # C xenstored waits for the rest of a request that xl was stopped in the middle of, and then answers nobody.
    if [ "$ib_id" != "$sb_last" ] && timeout 2 xenstore-exists "/local/domain/$ib_id/vm"; then
        building=$ib_id
        ! xenstore-exists "/local/domain/$ib_id/memory/target" && return 0
    fi
    kill -CONT -$builder 2>/dev/null
    return 1
}

# Tries a command as fast as it can, for a state that lasts only a moment.
eventually_quick() { # TIMES COMMAND...
    eq_left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        eq_left=$((eq_left - 1))
        [ $eq_left -gt 0 ] || return 1
        usleep 20000
    done
}

finish_build() {
    kill -CONT -$builder
    wait $builder
}

# Received by a migration from this same host: `xl migrate` runs in steps, see is_being_built.
start_migration() { # DOM
    start_build xl migrate -s '' "$1" 'xl migrate-receive'
}

# Destroyed, but not released: xenconsoled keeps a page of it mapped until free_zombie.
make_zombie() { # DOM
    kill -STOP "$(pidof xenconsoled)"
    command xl destroy "$1"
    flag dying "$1"
}

free_zombie() {
    kill -CONT "$(pidof xenconsoled)" 2>/dev/null || true
}

# A device model domain, by its nodes in xenstore: it serves DOM.
make_device_model() { # STUB DOM
    load_ids "$2"
    md_of=$domid
    load_ids "$1"
    xenstore-write "/local/domain/$domid/target" "$md_of" "/local/domain/$md_of/image/device-model-domid" "$domid"
}
