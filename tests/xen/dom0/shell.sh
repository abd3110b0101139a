# The task `shell`: a shell on dom0's console, for a maintainer. Leaving it powers the machine off.
. /check/lib.sh
echo "dom0 of Xen $(xen_release), store: $STORE. Start the guests with: start_guests. Leave with: exit"
export ENV=/check/lib.sh
# Busybox has line editing.
exec setsid cttyhack busybox sh -i
