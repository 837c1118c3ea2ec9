# The first process of a virtual machine that builds a package. Everything that it prints is the build's log; what it
# leaves is a word of what happened and an archive of results, on a disk that the host reads as data.

# Prints the device of the disk with a serial number.
disk() {
    for directory in /sys/block/vd*; do
        if [ "$(cat "$directory/serial")" = "$1" ]; then echo "/dev/${directory##*/}"; fi
    done
}

# Waits for the port that leads to the log; the host tells its name a moment after the driver is there.
port=
tries=0
while [ -z "$port" ] && [ $tries -lt 1000 ]; do
    for directory in /sys/class/virtio-ports/*; do
        if [ -e "$directory/name" ] && [ "$(cat "$directory/name")" = log ]; then port=/dev/${directory##*/}; fi
    done
    if [ -z "$port" ]; then usleep 10000; tries=$((tries + 1)); fi
done
exec </dev/null >"$port" 2>&1

# Writes a word of what happens to where the host looks for it.
say() { printf '%-512s' "$1" | dd of="$(disk output)" bs=512 conv=notrunc 2>/dev/null; }

# Ends the machine. The word is written last: what is on the disk counts only with it.
finish() {
    sync
    say "$1"
    sync
    poweroff -f
}

fail() {
    # What a step filled is the reason, whatever it said itself.
    if [ "$(df -k /work | tail -n 1 | awk '{ print $4 }')" -lt 2048 ]; then finish full; fi
    finish "failed $1"
}

mkdir -p /base /work /root
{
    mount -t ext4 -o ro,noatime "$(disk base)" /base &&
        mount -t ext4 -o noatime "$(disk work)" /work &&
        mkdir -p /work/upper /work/work /work/input &&
        mount -t overlay -o lowerdir=/base,upperdir=/work/upper,workdir=/work/work,volatile overlay /root &&
        tar -x -f "$(disk input)" -C /work/input &&
        mount -o bind /work/input/packages /root/build/packages &&
        mount -o bind /work/input/source /root/build/source &&
        furnish
} || finish broken

# Defines `steps`, which calls `fail` with the number of the step that fails.
. /work/input/steps
say begun
sync
steps

# The regular files beside the package's tree, and nothing below it.
cd /root/build/reproducible-path || finish unwritten
set --
for file in *; do
    if [ -f "$file" ] && [ ! -L "$file" ]; then set -- "$@" "$file"; fi
done
# A pipe's status is its last part's; a full disk is that one's.
if ! tar -c -f - -- "$@" | dd of="$(disk output)" bs=65536 seek=1 conv=notrunc 2>/dev/null; then
    finish unwritten
fi
finish finished
