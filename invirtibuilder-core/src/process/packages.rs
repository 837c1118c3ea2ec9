//! Which Debian package has a program.

/// Returns the Debian package that has a program, for the remedy in an error.
#[must_use]
pub fn debian_package_of(program: &str) -> &str {
    match program {
        "apt-get" | "apt-config" | "apt-cache" | "apt-ftparchive" | "apt" => "apt",
        "dpkg" | "dpkg-deb" | "dpkg-architecture" | "dpkg-source" | "dpkg-buildpackage" => "dpkg-dev",
        "gpg-agent" | "gpgconf" | "gpg" => "gnupg",
        "autopkgtest-virt-qemu" => "autopkgtest",
        "getent" => "libc-bin",
        "ip" => "iproute2",
        "/usr/sbin/remctl-shell" => "remctl-server",
        "mke2fs" => "e2fsprogs",
        "newuidmap" | "newgidmap" => "uidmap",
        "nsenter" | "prlimit" | "setpriv" | "unshare" => "util-linux",
        "qemu-img" => "qemu-utils",
        "qemu-system-x86_64" => "qemu-system-x86",
        "qemu-system-aarch64" => "qemu-system-arm",
        "usermod" | "useradd" => "passwd",
        other => other,
    }
}
