# The task `bench`: xl, xmem and a no-op program, in turn, timed and counted. It checks no results. Any error ends it, so
# that no doubtful number is printed.
# tests/xen/bench reads its output:
#   sample WHAT WHO KIND NUMBER | about TEXT | abort: TEXT | done          (times in microseconds, memory in KiB)
# Settings: ROUNDS; WATCH, how often a view is refreshed, or 0; CLOCK, which is only printed.
# shellcheck disable=SC2086 # commands are words
. /check/lib.sh

few=$(((ROUNDS + 3) / 4))
# Quiet, as xl is: otherwise xmem would note that the guest is paused.
set_by_xl="xl mem-set"
set_by_xmem="$program --quiet set"

give_up() {
    echo "abort: $*"
    exit 1
}

# By program names, since a shell function cannot be timed.
with_store() { # WHO COMMAND...
    ws_who=$1
    shift
    case $ws_who,$VIA in
    xmem,bus) XENSTORED_PATH=$device "$@" ;;
    *) "$@" ;;
    esac
}

timed() { # WHAT WHO COUNT FIRST COMMAND...
    ti_what=$1 ti_who=$2
    shift 2
    ti_said=$(with_store "$ti_who" stopwatch "$@" 2>/tmp/err) || give_up "$ti_what by $ti_who: $(cat /tmp/err)"
    set -- $ti_said
    echo "sample $ti_what $ti_who wall $1"
    echo "sample $ti_what $ti_who cpu $2"
    echo "sample $ti_what $ti_who memory $3"
}

# The CPU time that xenstored has used, in microseconds.
store_time() {
    awk '{ printf "%d\n", $1 / 1000 }' "/proc/$(store_pid)/schedstat"
}

# As `timed` for one command, plus the CPU time that it costs xenstored.
timed_with_store() { # WHAT WHO COMMAND...
    tw_before=$(store_time)
    tw_what=$1 tw_who=$2
    shift 2
    timed "$tw_what" "$tw_who" 1 0 "$@"
    echo "sample $tw_what $tw_who store-cpu $(($(store_time) - tw_before))"
}

# The time for which another client waits for a reply from xenstored while the command runs, many times.
timed_beside() { # WHAT WHO COMMAND...
    tb_what=$1 tb_who=$2
    shift 2
    tb_said=$(with_store "$tb_who" neighbour /run/xenstored/socket /local/domain/0/name 3 "$@" 2>/tmp/err) ||
        give_up "$tb_what by $tb_who, beside another client: $(cat /tmp/err)"
    set -- $tb_said
    echo "sample $tb_what $tb_who other-waits $2"
    echo "sample $tb_what $tb_who other-waits-most $4"
}

# No size follows itself, so that every run changes something.
size=150
next_size() {
    size=$((150 + (size + 1) % 32))
}

is_set() { # WHAT DOM MIB
    [ "$(target "$2")" = $(($3 * 1024)) ] || give_up "$1: the target of $2 is $(target "$2") KiB, not $3 MiB"
}

what_of() { # DOM
    case $1 in
    g1) echo set-pv ;;
    g2) echo set-pvh ;;
    esac
}

set_in_turn() { # WHAT DOM NAME-OR-DOMID
    timed "$1" nothing 1 0 nothing
    next_size
    timed "$1" xl 1 $size $set_by_xl "$3" %
    is_set "$1 by xl" "$2" $size
    next_size
    timed "$1" xmem 1 $size $set_by_xmem "$3" %
    is_set "$1 by xmem" "$2" $size
}

# Twenty sizes, all different from the present one.
at_once() { # WHAT WHO COMMAND...
    ao_what=$1 ao_who=$2
    shift 2
    case $(target g1) in
    1[3-5]????) ao_first=170 ;;
    *) ao_first=130 ;;
    esac
    timed "$ao_what" "$ao_who" 20 $ao_first "$@"
    ao_last=$(target g1)
    [ "$ao_last" -ge $((ao_first * 1024)) ] && [ "$ao_last" -lt $(((ao_first + 20) * 1024)) ] ||
        give_up "$ao_what by $ao_who: the target of g1 is $ao_last KiB"
}

list_in_turn() { # WHAT DOMAINS
    li_xl=$(xl list | wc -l) li_xmem=$(with_store xmem $program list --json | grep -c '"domid"')
    [ "$li_xl,$li_xmem" = "$(($2 + 1)),$2" ] || give_up "$1: xl has $((li_xl - 1)) domains, xmem $li_xmem, not $2"
    counted "$1" xl xl list
    counted "$1" xmem $program list
    li_round=0
    while [ $li_round -lt $few ]; do
        li_round=$((li_round + 1))
        timed "$1" nothing 1 0 nothing
        timed_with_store "$1" xl xl list
        timed_with_store "$1" xmem $program list
        timed_beside "$1" nothing sleep 0.1
        timed_beside "$1" xl xl list
        timed_beside "$1" xmem $program list
    done
}

# xl's JSON shows for each domain what xmem's table does.
long_list_in_turn() { # WHAT
    ll_round=0
    while [ $ll_round -lt $few ]; do
        ll_round=$((ll_round + 1))
        timed_with_store "$1" xl xl list -l
        timed_with_store "$1" xmem $program list
    done
}

# What a view takes for each refresh, on average, of its own and of xenstored's processor time.
refreshed() { # WHAT WHO COMMAND...
    rf_before=$(store_time)
    rf_what=$1 rf_who=$2
    shift 2
    rf_said=$(with_store "$rf_who" stopwatch 1 0 "$@" 2>/tmp/err) || give_up "$rf_what by $rf_who: $(cat /tmp/err)"
    set -- $rf_said
    echo "sample $rf_what $rf_who cpu $(($2 / WATCH))"
    echo "sample $rf_what $rf_who store-cpu $((($(store_time) - rf_before) / WATCH))"
}

# Each view is refreshed once a second.
watch_in_turn() { # WHAT
    every_second='n=0; while [ $n -lt $0 ]; do "$@"; sleep 1; n=$((n + 1)); done'
    refreshed "$1" nothing sh -c "$every_second" "$WATCH" true
    refreshed "$1" xl sh -c "$every_second" "$WATCH" xl list
    refreshed "$1" xmem $program watch --interval 1s --count "$WATCH"
    refreshed "$1-xentop" xl xentop -b -d 1 -i "$WATCH"
    refreshed "$1-xentop" xmem $program watch --interval 1s --count "$WATCH"
}

# From flock's return to the file's removal, by the kernel's trace points, which cost almost nothing; strace would stop
# the program at each call. The lock's file is the last one removed, see counted.
events=/sys/kernel/tracing/events/syscalls
lock_events() { # 0|1
    for le in sys_exit_flock sys_enter_unlink sys_enter_unlinkat; do
        echo "$1" >$events/$le/enable || give_up "the kernel has no trace point $le"
    done
}

lock_held() { # WHAT WHO COMMAND...
    lh_what=$1 lh_who=$2
    shift 2
    : >/sys/kernel/tracing/trace
    with_store "$lh_who" "$@" >/dev/null 2>/tmp/err || give_up "$lh_what by $lh_who: $(cat /tmp/err)"
    cat /sys/kernel/tracing/trace >/tmp/trace
    lh_time=$(awk '
        { time = $4; sub(/:/, "", time) }
        / sys_flock -> 0x0$/ { taken = time; freed = 0 }
        / sys_unlink(at)?\(/ { freed = time }
        END { if (taken && freed) printf "%d\n", (freed - taken) * 1000000; else exit 1 }' /tmp/trace) ||
        give_up "$lh_what by $lh_who: no lock in the trace: $(cat /tmp/trace)"
    echo "sample $lh_what $lh_who held $lh_time"
}

counted() { # WHAT WHO COMMAND...
    co_what=$1 co_who=$2
    shift 2
    with_store "$co_who" strace -f -s 64 -o /tmp/trace "$@" >/dev/null 2>/tmp/err ||
        give_up "$co_what by $co_who: $(cat /tmp/err)"
    count_costs
    echo "sample $co_what $co_who system-calls $((system_calls + more_reads))"
    [ "$co_who" != nothing ] || return 0
    [ "$hypercalls" -gt 0 ] && [ "$round_trips" -gt 0 ] || give_up "$co_what by $co_who: nothing in the trace"
    echo "sample $co_what $co_who hypercalls $hypercalls"
    echo "sample $co_what $co_who round-trips $round_trips"
}

# A change, which must remove the lock last, as lock_held expects.
counted_set() { # WHAT WHO DOM DOM-OR-DOMID
    case $2 in
    xl) cs_command=$set_by_xl ;;
    xmem) cs_command=$set_by_xmem ;;
    esac
    next_size
    counted "$1" "$2" $cs_command "$4" $size
    is_set "$1 by $2" "$3" $size
    grep unlink /tmp/trace | tail -n 1 | grep -q 'domain-userdata-lock".* = 0$' ||
        give_up "$1 by $2: the lock is not the last that is removed: $(grep unlink /tmp/trace)"
}

echo "about Xen $(xen_release), xenstored: $STORE, way to it: $VIA, clock: $CLOCK, $ROUNDS rounds, $few of what takes longer"
[ -x $program ] || give_up "there is no xmem in this boot"
start_guests g1 g2 >/tmp/start.log 2>&1 || give_up "the guests did not start: $(tr '\n' ' ' </tmp/start.log)"
store_ids g1
store_ids g2
reset_guests g1 g2
# Paused, so that no balloon driver is timed.
xl pause g1 && xl pause g2 || give_up "the guests could not be paused"

echo "what a change costs, in counts"
counted set-pv nothing nothing
for dom in g1 g2; do
    what=$(what_of $dom)
    for who in xl xmem; do
        counted_set $what $who $dom $dom
        counted_set $what-id $who $dom "$(domid_of $dom)"
    done
done

round=0
while [ $round -lt "$ROUNDS" ]; do
    round=$((round + 1))
    [ $((round % 10)) != 1 ] || echo "changes, from round $round of $ROUNDS"
    set_in_turn set-pv g1 g1
    set_in_turn set-pv-id g1 "$(domid_of g1)"
    set_in_turn set-pvh g2 g2
    set_in_turn set-pvh-id g2 "$(domid_of g2)"
done

echo "the time for which the lock is held"
mount -t tracefs tracefs /sys/kernel/tracing || give_up "the kernel has no trace points"
lock_events 1
round=0
while [ $round -lt $few ]; do
    round=$((round + 1))
    for dom in g1 g2; do
        what=$(what_of $dom)
        next_size
        lock_held $what xl $set_by_xl $dom $size
        next_size
        lock_held $what xmem $set_by_xmem $dom $size
    done
done
lock_events 0

echo "20 changes at once"
round=0
while [ $round -lt $few ]; do
    round=$((round + 1))
    timed at-once nothing 20 0 nothing
    at_once at-once xl $set_by_xl g1 %
    at_once at-once xmem $set_by_xmem g1 %
done

echo "lists of 3 domains"
list_in_turn list-3 3
echo "starting 27 more domains"
start_idle 1 27 >/tmp/start.log || give_up "$(cat /tmp/start.log)"
echo "lists of 30 domains"
list_in_turn list-30 30
long_list_in_turn list-30-long
if [ "$WATCH" -gt 0 ]; then
    echo "views of 30 domains, for $WATCH seconds each"
    watch_in_turn watch-30
fi
echo "starting 70 more domains"
start_idle 28 97 >/tmp/start.log || give_up "$(cat /tmp/start.log)"
echo "lists of 100 domains"
list_in_turn list-100 100
long_list_in_turn list-100-long
is_left=$(leftovers)
[ -z "$is_left" ] || give_up "left behind: $is_left"
echo "done"
