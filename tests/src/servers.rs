//! Servers that a test starts for itself on free ports of the loopback, and that end with their values.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::programs::{Answer, CLI, command, program, run};
use crate::sites::Site;

/// The realm of tests.
pub const REALM: &str = "TEST.INVALID";

/// A process that dies with this value.
#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server, and waits until a line of its standard error has this text. What it says later is read away.
    fn start(command: &mut Command, ready: &str) -> Result<Self, String> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let server = Self(child);
        let mut said = String::new();
        while let Some(Ok(line)) = lines.next() {
            if line.contains(ready) {
                std::thread::spawn(move || lines.count());
                return Ok(server);
            }
            said += &line;
            said.push('\n');
        }
        Err(said)
    }
}

/// Calls with free ports until a server could use one: another process may have taken it meanwhile.
fn with_port<T>(start: impl Fn(u16) -> Result<T, String>) -> T {
    let mut said = String::new();
    for _ in 0..5 {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        match start(port) {
            Ok(server) => return server,
            Err(error) => said = error,
        }
    }
    panic!("the server does not start:\n{said}");
}

/// A Kerberos realm with a remctld, which knows what `invirtibuilder remctl-config` wrote.
#[derive(Debug)]
pub struct Realm {
    directory: PathBuf,
    port: u16,
    remctld: Server,
    _kdc: Server,
}

impl Realm {
    /// Makes one beside a site, with these principals.
    #[must_use]
    pub fn new(site: &Site, principals: &[&str]) -> Self {
        let directory = site.beside("realm");
        fs::create_dir_all(directory.join("kdc")).unwrap();
        let kdc = with_port(|port| {
            let shown = directory.display();
            let text = format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
            );
            fs::write(directory.join("krb5.conf"), text).unwrap();
            let text = format!(
                "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n  database_name = {shown}/kdc/principal\n  key_stash_file = {shown}/kdc/stash\n  acl_file = {shown}/kdc/acl\n }}\n[logging]\n kdc = STDERR\n"
            );
            fs::write(directory.join("kdc/kdc.conf"), text).unwrap();
            if !directory.join("keytab").exists() {
                make_principals(&directory, principals);
            }
            Server::start(kerberos(&directory, "krb5kdc").args(["-n", "-r", REALM]), "commencing operation")
        });
        for name in principals {
            let keytab = directory.join(format!("{}.keytab", file_name(name)));
            run(kerberos(&directory, "kinit")
                .arg("-k")
                .arg("-t")
                .arg(keytab)
                .arg("-c")
                .arg(cache(&directory, name))
                .arg(name))
            .ok();
        }
        let (port, remctld) = start_remctld(site, &directory);
        Self { directory, port, remctld, _kdc: kdc }
    }

    /// Returns the directory of remctld's configuration.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("remctl")
    }

    /// Lets remctld read its configuration again.
    pub fn reload(&self) {
        run(command("kill").args(["-HUP", &self.remctld.0.id().to_string()])).ok();
    }

    /// Begins a call of remctl by a principal.
    #[must_use]
    pub fn command(&self, principal: &str, words: &[&str]) -> Command {
        let mut remctl = kerberos(&self.directory, "remctl");
        remctl.env("KRB5CCNAME", cache(&self.directory, principal));
        remctl.args(["-p", &self.port.to_string(), "-s", "host/localhost", "localhost"]).args(words);
        remctl
    }

    /// Calls remctl as a principal.
    #[must_use]
    pub fn remctl(&self, principal: &str, words: &[&str]) -> Answer {
        run(&mut self.command(principal, words))
    }
}

fn file_name(principal: &str) -> String {
    principal.replace('/', "+")
}

fn cache(directory: &Path, principal: &str) -> String {
    format!("FILE:{}", directory.join(format!("{}.tickets", file_name(principal))).display())
}

fn kerberos(directory: &Path, program: &str) -> Command {
    let mut command = command(program);
    command.env("KRB5_CONFIG", directory.join("krb5.conf"));
    command.env("KRB5_KDC_PROFILE", directory.join("kdc/kdc.conf"));
    command.env("KRB5_KTNAME", format!("FILE:{}", directory.join("keytab").display()));
    command
}

fn make_principals(directory: &Path, principals: &[&str]) {
    // With -W it does not wait for the kernel's entropy.
    run(kerberos(directory, "kdb5_util").args(["create", "-W", "-s", "-r", REALM, "-P", "master"])).ok();
    let keytab = |name: &str| directory.join(format!("{}.keytab", file_name(name)));
    let mut input = String::new();
    for name in ["host/localhost"].iter().chain(principals) {
        let file = if *name == "host/localhost" { directory.join("keytab") } else { keytab(name) };
        let _ = writeln!(input, "addprinc -randkey {name}\nktadd -k {} {name}", file.display());
    }
    let mut kadmin = kerberos(directory, "kadmin.local");
    let mut child = kadmin.args(["-r", REALM]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn start_remctld(site: &Site, directory: &Path) -> (u16, Server) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let configuration = directory.join("remctl");
    site.cli(&["remctl-config", configuration.to_str().unwrap()]).ok();
    with_port(|port| {
        let mut remctld = kerberos(directory, "remctld");
        remctld.args(["-m", "-F", "-S", "-b", "127.0.0.1", "-p", &port.to_string()]);
        remctld.arg("-f").arg(configuration.join("remctl.conf"));
        // What the administrator's shell had must not matter.
        remctld.env("GIT_DIR", "/nonexistent").env("LANG", "C").env("ENV", "/nonexistent");
        let child = remctld.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Server(child);
        // It does not say when it is ready.
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.0.try_wait().unwrap().is_some() || started.elapsed() > PATIENCE {
                return Err("remctld ended".to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((port, server))
    })
}

/// An sshd that knows the keys of a site, and a client with keys of its own.
#[derive(Debug)]
pub struct Sshd {
    directory: PathBuf,
    port: u16,
    _server: Server,
}

impl Sshd {
    /// Starts one beside a site.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        let directory = site.beside("ssh");
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        make_key(&directory, "host");
        let (port, server) = with_port(|port| {
            let shown = directory.display();
            let text = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin forced-commands-only\nAuthorizedKeysFile none\nAuthorizedKeysCommand /usr/bin/env INVIRTIBUILDER_CONFIG={} {} authorized-keys %t %k\nAuthorizedKeysCommandUser root\nAcceptEnv GIT_PROTOCOL\nMaxStartups 300\n",
                site.config().display(),
                program(CLI).display(),
            );
            fs::write(directory.join("sshd_config"), text).unwrap();
            let mut sshd = command("/usr/sbin/sshd");
            sshd.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
            Server::start(&mut sshd, "Server listening").map(|it| (port, it))
        });
        Self { directory, port, _server: server }
    }

    /// Makes a key, adds it to the site's for a principal, and returns its public half's file.
    pub fn add(&self, site: &Site, key: &str, principal: &str) -> PathBuf {
        let public = make_key(&self.directory, key);
        site.cli(&["key", "add", principal, public.to_str().unwrap()]).ok();
        public
    }

    fn client(&self, key: &str) -> Vec<String> {
        let shown = self.directory.display();
        let options = format!(
            "ssh -F none -p {} -i {shown}/{key} -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile={shown}/known -o LogLevel=ERROR",
            self.port
        );
        options.split(' ').map(str::to_owned).collect()
    }

    /// Asks with a key for something, in the client's words.
    #[must_use]
    pub fn ssh(&self, key: &str, words: &[&str]) -> Answer {
        run(self.command(key).args(words))
    }

    /// Begins a call of ssh with a key; what is asked for is to be added.
    #[must_use]
    pub fn command(&self, key: &str) -> Command {
        let client = self.client(key);
        let mut ssh = command(&client[0]);
        ssh.args(&client[1..]).arg("root@127.0.0.1").arg("--");
        ssh
    }

    /// Begins a call of git that uses a key; repositories are at [`Sshd::url`].
    #[must_use]
    pub fn git(&self, key: &str, tree: &Path) -> Command {
        let mut git = command("git");
        git.env("GIT_SSH_COMMAND", self.client(key).join(" ")).arg("-C").arg(tree);
        git
    }

    /// Returns where git finds a repository.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("ssh://root@127.0.0.1:{}/{name}", self.port)
    }
}

fn make_key(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    if !path.exists() {
        run(command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path)).ok();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    path.with_extension("pub")
}

/// A web server that runs the programs below `cgi-bin` of a directory.
#[derive(Debug)]
pub struct CgiServer {
    _server: Server,
    /// Where it is.
    pub uri: String,
}

impl CgiServer {
    /// Starts one.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        with_port(|port| {
            let program = format!(
                "import http.server, os, sys\nos.chdir(sys.argv[1])\nclass H(http.server.CGIHTTPRequestHandler):\n    cgi_directories = ['/cgi-bin']\n    have_fork = True\nserver = http.server.ThreadingHTTPServer(('127.0.0.1', {port}), H)\nprint('ready', file=sys.stderr, flush=True)\nserver.serve_forever()\n"
            );
            let mut python = command("python3");
            python.args(["-W", "ignore", "-c", &program]).arg(directory);
            let server = Server::start(&mut python, "ready")?;
            Ok(Self { _server: server, uri: format!("http://127.0.0.1:{port}") })
        })
    }
}
