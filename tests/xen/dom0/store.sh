# The xenstore daemon of this boot: $STORE is c, ox (oxenstored) or ox-eagain (oxenstored that makes one commit
# in three fail with EAGAIN). Sourced.

store_pid_file=/run/xenstored.pid

store_start() {
    case $STORE in
    c)
        xenstored --pid-file=$store_pid_file >/tmp/store.log 2>&1
        ;;
    ox | ox-eagain)
        {
            echo "xenstored-kva = /proc/xen/xsd_kva"
            echo "xenstored-port = /proc/xen/xsd_port"
            [ "$STORE" = ox ] || echo "test-eagain = true"
        } >/etc/xen/oxenstored.conf
        oxenstored --config-file=/etc/xen/oxenstored.conf --pid-file=$store_pid_file >/tmp/store.log 2>&1
        ;;
    *)
        echo "no such store: $STORE" >/tmp/store.log
        return 1
        ;;
    esac
    i=0
    while [ $i -lt 100 ]; do
        [ ! -S /run/xenstored/socket ] || return 0
        sleep 0.1
        i=$((i + 1))
    done
    return 1
}

store_pid() {
    cat $store_pid_file
}
