# The first process of a virtual machine that sbuild builds in: it makes the base writable, and gives autopkgtest what
# it looks for, a root shell on a second console and a prompt on the first. The disks are, in this order: an empty one
# to write to, the base, python on top of it, and an archive of build dependencies.

# The disks are there a moment after their driver.
tries=0
while [ ! -e /dev/vdd ] && [ $tries -lt 1000 ]; do usleep 10000; tries=$((tries + 1)); done

mkdir -p /base /python /work /root
{
    mount -t ext4 -o noatime /dev/vda /work &&
        mount -t ext4 -o ro,noatime /dev/vdb /base &&
        mount -t ext4 -o ro,noatime /dev/vdc /python &&
        mkdir -p /work/upper /work/work &&
        mount -t overlay -o lowerdir=/python:/base,upperdir=/work/upper,workdir=/work/work,volatile overlay /root &&
        mkdir /root/build-dependencies &&
        tar -x -f /dev/vdd -C /root/build-dependencies &&
        mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /root/run &&
        mkdir -p -m 1777 /root/run/lock &&
        furnish
} || poweroff -f

# Nobody may be listening when it is said for the first time.
while :; do
    for console in /dev/hvc0 /dev/ttyS0 /dev/ttyAMA0; do
        if [ -e "$console" ]; then printf '\nbuild login: \n' >"$console"; fi
    done
    sleep 1
done &
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb
while :; do
    /bin/setsid /bin/busybox chroot /root /bin/sh -i </dev/hvc1 >/dev/hvc1 2>&1
done
