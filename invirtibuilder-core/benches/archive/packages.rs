//! Packages to publish: source packages with two binary packages each, whose paragraphs have about 700 bytes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use invirtibuilder_core::error::BoxError;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

/// A version of a package.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where its files are.
    pub(crate) directory: PathBuf,
}

impl Package {
    /// Returns the name of the package with this number.
    pub(crate) fn name(number: usize) -> String {
        format!("p{number:05}")
    }

    pub(crate) fn dsc(&self) -> PathBuf {
        self.directory.join(format!("{}_{}.dsc", self.name, self.version))
    }

    pub(crate) fn changes(&self) -> PathBuf {
        self.directory.join(format!("{}_{}_amd64.changes", self.name, self.version))
    }

    pub(crate) fn debs(&self) -> [PathBuf; 2] {
        let Self { name, version, directory } = self;
        [format!("{name}_{version}_amd64.deb"), format!("{name}-doc_{version}_all.deb")]
            .map(|it| directory.join(it))
    }

    /// Writes its files.
    pub(crate) fn write(below: &Path, name: &str, version: &str) -> Result<Self, BoxError> {
        let package =
            Self { name: name.to_owned(), version: version.to_owned(), directory: below.join(name) };
        std::fs::create_dir_all(&package.directory)?;
        let tarball = format!("{name}_{version}.tar.gz");
        let tree = tar(&[(&format!("{name}-{version}/README"), &format!("{name} {version}\n"))])?;
        std::fs::write(package.directory.join(&tarball), gzip(&tree)?)?;
        let source = package.directory.join(&tarball);
        let dsc = format!(
            "Format: 3.0 (native)\nSource: {name}\nBinary: {name}, {name}-doc\nArchitecture: any all\nVersion: {version}\nMaintainer: The Maintainers of Many Packages <maintainers@example.org>\nUploaders: Somebody Else <somebody.else@example.org>\nHomepage: https://{name}.example.org/\nStandards-Version: 4.7.0\nVcs-Browser: https://git.example.org/debian/{name}\nBuild-Depends: debhelper-compat (= 13), libc6-dev, zlib1g-dev, pkg-config\nPackage-List:\n {name} deb misc optional arch=any\n {name}-doc deb doc optional arch=all\n{}",
            sums(std::slice::from_ref(&source), "")?
        );
        std::fs::write(package.dsc(), dsc)?;
        for (deb, (binary, architecture)) in
            package.debs().iter().zip([(name.to_owned(), "amd64"), (format!("{name}-doc"), "all")])
        {
            std::fs::write(deb, package.deb(&binary, architecture)?)?;
        }
        let [one, two] = package.debs();
        let files = sums(&[package.dsc(), source, one, two], " misc optional")?;
        let changes = format!(
            "Format: 1.8\nDate: Mon, 23 Nov 2026 08:00:00 +0000\nSource: {name}\nBinary: {name} {name}-doc\nArchitecture: source amd64 all\nVersion: {version}\nDistribution: unstable\nUrgency: medium\nMaintainer: The Maintainers <maintainers@example.org>\nChanged-By: The Maintainers <maintainers@example.org>\nDescription:\n {name} - a package\nChanges:\n {name} ({version}) unstable; urgency=medium\n .\n   * A change.\n{files}"
        );
        std::fs::write(package.changes(), changes)?;
        Ok(package)
    }

    fn deb(&self, binary: &str, architecture: &str) -> Result<Vec<u8>, BoxError> {
        let Self { name, version, .. } = self;
        let source = if binary == name { String::new() } else { format!("Source: {name}\n") };
        let control = format!(
            "Package: {binary}\n{source}Version: {version}\nArchitecture: {architecture}\nMaintainer: The Maintainers of Many Packages <maintainers@example.org>\nInstalled-Size: 123\nDepends: libc6 (>= 2.34), libgcc-s1 (>= 3.0), zlib1g (>= 1:1.2.0), init-system-helpers (>= 1.51)\nSection: misc\nPriority: optional\nHomepage: https://{name}.example.org/\nDescription: the package {binary} of a benchmark\n Its description has a few lines of words, as they are common, so that the\n index has the size of an index of real packages.\n"
        );
        let files: Vec<(String, &str)> =
            ["README", "copyright", "changelog.gz", "examples/one", "examples/two"]
                .iter()
                .map(|it| (format!("./usr/share/doc/{binary}/{it}"), "x\n"))
                .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|it| (it.0.as_str(), it.1)).collect();
        let (control, data) = (gzip(&tar(&[("./control", &control)])?)?, gzip(&tar(&files)?)?);
        let mut archive = ar::Builder::new(Vec::new());
        for (name, bytes) in
            [("debian-binary", b"2.0\n".as_slice()), ("control.tar.gz", &control), ("data.tar.gz", &data)]
        {
            let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            header.set_mode(0o100_644);
            archive.append(&header, bytes)?;
        }
        Ok(archive.into_inner()?)
    }
}

fn tar(files: &[(&str, &str)]) -> Result<Vec<u8>, BoxError> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_795_420_800);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn sums(files: &[PathBuf], kind: &str) -> Result<String, BoxError> {
    let (mut sha1, mut sha256, mut md5) = (String::new(), String::new(), String::new());
    for path in files {
        let (bytes, name) = (std::fs::read(path)?, path.file_name().unwrap_or_default().to_string_lossy());
        writeln!(sha1, " {} {} {name}", hex(&Sha1::digest(&bytes)), bytes.len())?;
        writeln!(sha256, " {} {} {name}", hex(&Sha256::digest(&bytes)), bytes.len())?;
        writeln!(md5, " {} {}{kind} {name}", hex(&Md5::digest(&bytes)), bytes.len())?;
    }
    Ok(format!("Checksums-Sha1:\n{sha1}Checksums-Sha256:\n{sha256}Files:\n{md5}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
