# Reading a domain's memory without xmem: from xenstore, from the hypervisor, from libxl's directory. Sourced.
# DOM is a domain's name. Sizes are KiB.

state_dir=/var/lib/xen
slack=1024
# 2^32 - 1 pages.
no_limit=17179869180

xen_release() {
    echo "$(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)"
}

# Sets $domid and $uuid. Like everything that nearly every check calls, it starts no process: even a subshell takes long
# on an emulated machine.
load_ids() { # DOM
    kn_name=$1
    [ "$1" != Domain-0 ] || kn_name=dom0
    eval "domid=\$domid_$kn_name uuid=\$uuid_$kn_name"
}

domid_of() { # DOM
    load_ids "$1"
    echo "$domid"
}

uuid_of() { # DOM
    load_ids "$1"
    echo "$uuid"
}

# Stores a started guest's domid and UUID for all later checks, since finding them takes a slow xl.
store_ids() { # DOM
    re_id=$(xl domid "$1")
    re_uuid=$(xenstore-read "/local/domain/$re_id/vm")
    echo "domid_$1=$re_id uuid_$1=${re_uuid##*/}" >>/tmp/domains
    . /tmp/domains
}
domid_dom0=0
uuid_dom0=00000000-0000-0000-0000-000000000000
[ ! -e /tmp/domains ] || . /tmp/domains

# A value below the domain's memory directory in xenstore; "absent" if it is not there.
read_key() { # DOM KEY
    load_ids "$1"
    xenstore-read "/local/domain/$domid/memory/$2" 2>/dev/null || echo absent
}

target() { read_key "$1" target; }
static_max() { read_key "$1" static-max; }
videoram() { read_key "$1" videoram; }
vm_memory() { # DOM
    load_ids "$1"
    xenstore-read "/vm/$uuid/memory" 2>/dev/null || echo absent
}

# Writes one of those values, which may begin with a minus; "absent" removes it.
write_key() { # DOM KEY VALUE
    load_ids "$1"
    if [ "$3" = absent ]; then
        xenstore-rm "/local/domain/$domid/memory/$2" 2>/dev/null || true
    else
        xenstore-write -- "/local/domain/$domid/memory/$2" "$3"
    fi
}

# By xentop, which takes longer: sets $h to the memory that the domain holds, $l to its limit ("none" if it has none).
read_xentop() { # DOM
    h='' l=''
    xentop -b -i 1 >/tmp/xentop || return 1
    while read -r rx_name _ _ _ rx_held _ rx_limit _; do
        [ "$rx_name" = "$1" ] || continue
        h=$rx_held l=$rx_limit
        # It prints "no limit", in two words.
        [ "$l" != no ] || l=none
    done </tmp/xentop
}

# Reads all of a domain's memory numbers: $t target, $s static-max, $v video, $m memory below /vm, $h held, $l limit
# (see read_xentop). One process, since nearly every check calls it.
read_all() { # DOM
    load_ids "$1"
    domctl memory "$domid" "$uuid" >/tmp/memory
    read -r t s v m h l </tmp/memory
    [ "$h" != - ] || h='' l=''
    [ "${l:-0}" -lt $no_limit ] || l=none
}

current() { read_all "$1" && echo "$h"; }
limit() { read_all "$1" && echo "$l"; }

# All of them in one line, for comparison and for messages.
numbers() { # DOM
    read_all "$1"
    echo "target $t static-max $s limit $l /vm/memory $m"
}

# What `xl mem-set DOM MIB` and `xl mem-max DOM MIB` leave, without xl. A size may end with k.
set_without_xl() { # DOM SIZE
    load_ids "$(name_of "$1")"
    sw_video=$(xenstore-read "/local/domain/$domid/memory/videoram" 2>/dev/null || echo 0)
    sw_target=$(($(in_kib "$2") - sw_video))
    xenstore-write "/local/domain/$domid/memory/target" $sw_target
    [ "$domid" = 0 ] || xenstore-write "/vm/$uuid/memory" $((sw_target / 1024))
    domctl limit "$domid" $((sw_target + sw_video + slack))
}

max_without_xl() { # DOM SIZE
    load_ids "$(name_of "$1")"
    xenstore-write "/local/domain/$domid/memory/static-max" "$(in_kib "$2")"
    domctl limit "$domid" $(($(in_kib "$2") + slack))
}

in_kib() { # SIZE, as for xl
    case $1 in
    *k) echo "${1%k}" ;;
    *) echo $(($1 * 1024)) ;;
    esac
}

name_of() { # NAME-OR-DOMID
    case $1 in
    *[!0-9]*) echo "$1" ;;
    *) xenstore-read "/local/domain/$1/name" ;;
    esac
}

# The start of every check: target 192 MiB, static-max 256 MiB, limit in step. Without xmem,
# and only if something is different.
reset_guests() { # DOM...
    for so_dom in "$@"; do
        read_all "$so_dom"
        if [ -z "$h" ]; then
            echo "FAILED: $so_dom is gone since the check before. Its console:"
            tail -n 40 "$(console_of "$so_dom")"
            return 1
        fi
        [ "$t $s $v $m $l" != "196608 262144 0 192 $((196608 + slack))" ] || continue
        write_key "$so_dom" static-max 262144
        write_key "$so_dom" videoram 0
        xl mem-set "$so_dom" 192
    done
}

# The limit as the hypervisor prints it on its console: needs no xenstored.
limit_by_hypervisor() { # DOM
    xl dmesg -c >/dev/null
    xl debug-keys q
    sleep 0.2
    xl dmesg | awk -v id="$(domid_of "$1")" '
        /General information for domain/ { here = ($NF == id ":") }
        here && match($0, /max_pages=[0-9]+/) { print 4 * substr($0, RSTART + 10, RLENGTH - 10); exit }'
}

# Target and limit are in step: after a set the limit is target + video + slack, after a max it is
# static-max + slack; it is never below the former, and the target never above static-max.
in_step() { # DOM
    read_all "$1"
    case "$t $s" in
    *absent*)
        echo "$1: target $t, static-max $s"
        return 1
        ;;
    esac
    [ "$v" != absent ] || v=0
    # In whole pages, as the hypervisor counts.
    is_least=$(((t + v + slack) / 4 * 4))
    if [ "$t" -gt "$s" ]; then
        echo "$1: target $t is above static-max $s"
        return 1
    fi
    if [ "$l" = $is_least ] || { [ "$l" = $((s + slack)) ] && [ "$l" -ge $is_least ]; }; then
        return 0
    fi
    echo "$1: limit $l does not go with target $t, static-max $s, video $v"
    return 1
}

# What the host has free, in MiB.
free_mib() {
    xl info | sed -n 's/^free_memory *: //p'
}

lock_file() { # DOM
    echo "$state_dir/userdata-l.$(domid_of "$1").$(uuid_of "$1").domain-userdata-lock"
}

intent_file() { # DOM
    echo "$state_dir/userdata-d.$(domid_of "$1").$(uuid_of "$1").xmem-intent"
}

# Locks and records that any domain's runs left behind.
leftovers() {
    for lo_file in $state_dir/*domain-userdata-lock $state_dir/*xmem-intent; do
        [ ! -e "$lo_file" ] || echo "$lo_file"
    done
}
