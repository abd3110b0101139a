. /check/lib.sh
start_guests g1 g2; remember g1; remember g2
[ "$VIA" != bus ] || export XENSTORED_PATH=$device
strace -f -s 300 /usr/sbin/xmem --quiet set g1 128M 2>&1
strace -f -c /usr/sbin/xmem --quiet set g2 128M 2>&1
