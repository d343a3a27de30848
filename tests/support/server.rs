//! A server over TCP on loopback that asks for passwords (SCRAM), with TLS or without. Knows no promise.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User, geteuid};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::testing;

/// Who may come in.
pub(crate) const USER: &str = "mirror";

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    /// Its own certificate, as PEM.
    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Signs for a server of this name.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([name.to_owned()]).unwrap();
        Identity {
            certificate: parameters.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A running server; it stops with this.
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Child,
    _dir: TempDir,
}

impl Server {
    /// Makes and starts one. None if this build of PostgreSQL speaks no TLS.
    pub(crate) async fn start(password: &str, identity: Option<&Identity>) -> Option<Self> {
        let bin = testing::cluster().await.bin_dir().to_owned();
        let dir = tempfile::Builder::new()
            .prefix("server-")
            .tempdir()
            .unwrap();
        let account = Account::find();
        let give = |path: &Path| account.own(path);
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        give(dir.path());
        let write = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            give(&path);
            path
        };
        let data = dir.path().join("data");
        let mut initdb = account.command(&bin.join("initdb"), dir.path());
        initdb.arg("-D").arg(&data).args(["-U", USER, "--no-sync"]);
        initdb.args(["-E", "UTF8", "--locale", "C", "-A", "scram-sha-256"]);
        initdb
            .arg("--pwfile")
            .arg(write("password", &format!("{password}\n")));
        assert!(initdb.output().unwrap().status.success());

        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        let mut server = account.command(&bin.join("postgres"), dir.path());
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        server.args(["-c", "listen_addresses=localhost", "-c", "fsync=off", "-k"]);
        server.arg(dir.path());
        if let Some(Identity { certificate, key }) = identity {
            let certificate = write("server.crt", certificate);
            let key = write("server.key", key);
            server.args(["-c", "ssl=on", "-c"]);
            server.arg(format!("ssl_cert_file={}", certificate.display()));
            server.arg("-c");
            server.arg(format!("ssl_key_file={}", key.display()));
        }
        let log = dir.path().join("log");
        server.stderr(std::fs::File::create(&log).unwrap());
        let process = server.spawn().unwrap();
        let mut server = Self {
            port,
            process,
            _dir: dir,
        };
        let pid_file = data.join("postmaster.pid");
        let ready = server.ready(&pid_file);
        if tokio::time::timeout(Duration::from_mins(1), ready).await == Ok(true) {
            return Some(server);
        }
        let said = std::fs::read_to_string(log).unwrap_or_default();
        assert!(
            said.contains("SSL is not supported by this build"),
            "{said}"
        );
        None
    }

    /// Waits until it takes connections; false if it ends instead.
    async fn ready(&mut self, pid_file: &Path) -> bool {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while self.process.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(pid_file).unwrap_or_default();
            if status
                .lines()
                .nth(7)
                .is_some_and(|line| line.trim() == "ready")
            {
                return true;
            }
            look.tick().await;
        }
        false
    }

    /// The URL of its database, with what follows the name.
    pub(crate) fn url(&self, host: &str, password: &str, query: &str) -> String {
        let port = self.port;
        format!("postgres://{USER}:{password}@{host}:{port}/postgres?connect_timeout=5{query}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).unwrap();
        // Its children end with it, at once.
        let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        let _ = self.process.wait();
    }
}

/// Whom the server runs as: it refuses to be root's.
struct Account(Option<(Uid, Gid)>);

impl Account {
    fn find() -> Self {
        let other = || {
            let mut users = ["postgres", "nobody"].iter();
            let user = users.find_map(|name| User::from_name(name).unwrap());
            let user = user.expect("a user that the server can run as");
            (user.uid, user.gid)
        };
        Self(geteuid().is_root().then(other))
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.0 {
            chown(path, Some(uid.as_raw()), Some(gid.as_raw())).unwrap();
        }
    }

    fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null());
        command.stdout(Stdio::null()).env("LC_ALL", "C");
        if let Some((uid, gid)) = self.0 {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }
}
