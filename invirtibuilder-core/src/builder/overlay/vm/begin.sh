#!/bin/busybox sh
# How the first process of every virtual machine begins; what it does then is the rest of the script.
/bin/busybox --install -s /bin
export PATH=/bin
umask 022
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done </modules/order

# Makes the tree at /root one that programs can run in, with the name and the loopback interface of a build.
furnish() {
    mount -t proc -o nosuid,nodev,noexec proc /root/proc &&
        mount -t sysfs -o nosuid,nodev,noexec,ro sysfs /root/sys &&
        mount -t devtmpfs -o nosuid devtmpfs /root/dev &&
        mkdir -p /root/dev/pts /root/dev/shm &&
        mount -t devpts -o nosuid,noexec,newinstance,gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts &&
        mount -t tmpfs -o nosuid,nodev,mode=1777,size=1g tmpfs /root/dev/shm &&
        rm -f /root/dev/ptmx && ln -s pts/ptmx /root/dev/ptmx &&
        ln -s /proc/self/fd /root/dev/fd &&
        ln -s /proc/self/fd/0 /root/dev/stdin &&
        ln -s /proc/self/fd/1 /root/dev/stdout &&
        ln -s /proc/self/fd/2 /root/dev/stderr &&
        hostname build &&
        ifconfig lo 127.0.0.1 up
}

