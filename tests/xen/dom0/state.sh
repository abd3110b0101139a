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

# Writes one of those values, which may begin with a minus; "absent" removes it.
put() { # DOM KEY VALUE
    if [ "$3" = absent ]; then
        xenstore-rm "/local/domain/$(domid_of "$1")/memory/$2" 2>/dev/null || true
    else
        xenstore-write -- "/local/domain/$(domid_of "$1")/memory/$2" "$3"
    fi
}

# The hypervisor's words, by xentop: what the domain holds, and its limit ("none" where there is no limit).
held() { xentop_column "$1" 5; }
limit() { xentop_column "$1" 7; }
xentop_column() { # DOM COLUMN
    xentop -b -i 1 | sed 's/no limit/none/' | awk -v dom="$1" -v column="$2" '$1 == dom { print $column }'
}

# Reads all there is about a domain's memory into $t $s $v $l (target, static-max, video, limit).
read_all() { # DOM
    t=absent s=absent v=absent
    xenstore-ls "/local/domain/$(domid_of "$1")/memory" >/tmp/keys 2>/dev/null || :
    while read -r ra_key _ ra_value; do
        ra_value=${ra_value#?} ra_value=${ra_value%?}
        case $ra_key in
        target) t=$ra_value ;;
        static-max) s=$ra_value ;;
        videoram) v=$ra_value ;;
        esac
    done </tmp/keys
    l=$(limit "$1")
}

# Everything at once, in one line, for comparing and for messages.
state() { # DOM
    read_all "$1"
    echo "target $t static-max $s limit $l /vm/memory $(vm_memory "$1")"
}

# Where every check starts: target 192 MiB, static-max 256 MiB, limit in step. By xl and xenstore-write alone,
# and only if something is different.
start_over() { # DOM...
    for so_dom in "$@"; do
        case "$(state "$so_dom") $(videoram "$so_dom")" in
        "target 196608 static-max 262144 limit $((196608 + slack)) /vm/memory 192 0") continue ;;
        esac
        put "$so_dom" static-max 262144
        put "$so_dom" videoram 0
        xl mem-set "$so_dom" 192
    done
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
    read_all "$1"
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
