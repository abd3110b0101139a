# Reading what a domain has, without xmem: from xenstore, from the hypervisor, from libxl's folder. Sourced.
# DOM is a domain's name. Sizes are KiB.

state_folder=/var/lib/xen
slack=1024

xen_release() {
    echo "$(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)"
}

domid_of() { # DOM
    case $1 in
    Domain-0) echo 0 ;;
    *) cat "/run/check/$1.domid" ;;
    esac
}

uuid_of() { # DOM
    case $1 in
    Domain-0) echo 00000000-0000-0000-0000-000000000000 ;;
    *) cat "/run/check/$1.uuid" ;;
    esac
}

# Keeps a started guest's domid and UUID, which cost a slow xl to find.
remember() { # DOM
    mkdir -p /run/check
    xl domid "$1" >"/run/check/$1.domid"
    basename "$(xenstore-read "/local/domain/$(domid_of "$1")/vm")" >"/run/check/$1.uuid"
}

# A value below the domain's memory folder in xenstore; "absent" if it is not there.
memory_key() { # DOM KEY
    xenstore-read "/local/domain/$(domid_of "$1")/memory/$2" 2>/dev/null || echo absent
}

target() { memory_key "$1" target; }
static_max() { memory_key "$1" static-max; }
videoram() { memory_key "$1" videoram; }
vm_memory() { xenstore-read "/vm/$(uuid_of "$1")/memory" 2>/dev/null || echo absent; }

# The hypervisor's words, by xentop: what the domain holds, and its limit ("none" where there is no limit).
held() { xentop_column "$1" 5; }
limit() { xentop_column "$1" 7; }
xentop_column() { # DOM COLUMN
    xentop -b -i 1 | sed 's/no limit/none/' | awk -v dom="$1" -v column="$2" '$1 == dom { print $column }'
}

# Everything at once, in one line, for comparing and for messages.
state() { # DOM
    echo "target $(target "$1") static-max $(static_max "$1") limit $(limit "$1") /vm/memory $(vm_memory "$1")"
}

# The limit as the hypervisor prints it on its own console: needs no xenstored.
limit_by_hypervisor() { # DOM
    xl dmesg -c >/dev/null
    xl debug-keys q
    sleep 0.2
    xl dmesg | awk -v id="$(domid_of "$1")" '
        /General information for domain/ { here = ($NF == id ":") }
        here && match($0, /max_pages=[0-9]+/) { print 4 * substr($0, RSTART + 10, RLENGTH - 10); exit }'
}

# Target and limit belong together: after a set the limit is target + video + slack, after a max it is
# static-max + slack; it is never below the former, and the target never above static-max.
in_step() { # DOM
    is_t=$(target "$1") is_s=$(static_max "$1") is_v=$(videoram "$1") is_l=$(limit "$1")
    [ "$is_v" != absent ] || is_v=0
    is_least=$((is_t + is_v + slack))
    # Whole pages, as the hypervisor counts.
    is_least=$((is_least / 4 * 4))
    if [ "$is_t" -gt "$is_s" ]; then
        echo "$1: target $is_t is above static-max $is_s"
        return 1
    fi
    if [ "$is_l" = $is_least ] || { [ "$is_l" = $((is_s + slack)) ] && [ "$is_l" -ge $is_least ]; }; then
        return 0
    fi
    echo "$1: limit $is_l does not go with target $is_t, static-max $is_s, video $is_v"
    return 1
}

lock_file() { # DOM
    echo "$state_folder/userdata-l.$(domid_of "$1").$(uuid_of "$1").domain-userdata-lock"
}

intent_file() { # DOM
    echo "$state_folder/userdata-d.$(domid_of "$1").$(uuid_of "$1").xmem-intent"
}

# Locks and intents of whatever domain that somebody left behind.
left_over() {
    ls $state_folder | grep -E 'domain-userdata-lock|xmem-intent' || true
}
