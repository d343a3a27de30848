//! Encryption on the way to the database: what `sslmode` and `sslrootcert` ask for, in the meaning that libpq gives them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;
use super::auth::{Allowed, Connector};
use super::url::{self, Split};

/// The `sslrootcert` that stands for the roots of the system.
const SYSTEM: &str = "system";

/// How far the server must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Not at all: the connection is encrypted, to any server.
    AnyServer,
    /// A certificate of a root that we trust, whatever the name in it.
    Root,
    /// Such a certificate in the server's name.
    Name,
}

pub(super) struct Parsed {
    pub(super) config: Config,
    trust: Trust,
    root: Option<PathBuf>,
    allowed: Option<Allowed>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, DatabaseError> {
    let Split {
        rest,
        mode,
        root,
        require_auth,
    } = url::split(text)?;
    let mut config = rest.parse::<Config>().map_err(|_| DatabaseError::Url)?;
    if !is_plain(&config) {
        return Err(DatabaseError::Url);
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(DatabaseError::NoHost);
    }
    let allowed = require_auth
        .map(|text| Allowed::parse(&text).ok_or(DatabaseError::RequireAuth))
        .transpose()?;
    let (ssl_mode, trust) = match mode.as_deref() {
        // As libpq does: with that many trusted roots the name must be checked.
        None if root.as_deref() == Some(SYSTEM) => (SslMode::Require, Trust::Name),
        None | Some("prefer" | "allow") => (SslMode::Prefer, Trust::AnyServer),
        Some("disable") => (SslMode::Disable, Trust::AnyServer),
        // And who names a root wants it looked at.
        Some("require") if root.is_some() => (SslMode::Require, Trust::Root),
        Some("require") => (SslMode::Require, Trust::AnyServer),
        Some("verify-ca") => (SslMode::Require, Trust::Root),
        Some("verify-full") => (SslMode::Require, Trust::Name),
        Some(_) => return Err(DatabaseError::SslMode),
    };
    config.ssl_mode(ssl_mode);
    let root = root.filter(|root| root != SYSTEM).map(PathBuf::from);
    Ok(Parsed {
        config,
        trust,
        root,
        allowed,
    })
}

/// Whether what messages name is what it should be: part of a URL that stands in the wrong place can be a password.
fn is_plain(config: &Config) -> bool {
    let is_host = |host: &Host| match host {
        Host::Tcp(name) => !name.contains(['@', '/', ' ', '=']),
        Host::Unix(_) => true,
    };
    let names = [config.get_user(), config.get_dbname()];
    let is_name = |name: &str| !name.contains("://") && !name.contains("password=");
    config.get_hosts().iter().all(is_host) && names.into_iter().flatten().all(is_name)
}

/// Whether a URL or `key=value` pairs can be read; connects to no server, and opens no file.
pub(crate) fn check_url(text: &str) -> Result<(), DatabaseError> {
    parse(text).map(drop)
}

/// Whether a password stands in a URL or in `key=value` pairs; true if it cannot be read.
pub(crate) fn holds_password(text: &str) -> bool {
    parse(text).map_or(true, |parsed| parsed.config.get_password().is_some())
}

type Variables = Vec<(&'static str, String)>;

/// The same for programs that use libpq: what the driver knows, and the variables that say the rest.
pub(crate) fn for_libpq(text: &str) -> Result<(Config, Variables), DatabaseError> {
    let Split {
        mode,
        root,
        require_auth,
        ..
    } = url::split(text)?;
    let variables = [
        ("PGSSLMODE", mode),
        ("PGSSLROOTCERT", root),
        ("PGREQUIREAUTH", require_auth),
    ];
    let set = |(name, value): (_, Option<String>)| Some((name, value?));
    Ok((
        parse(text)?.config,
        variables.into_iter().filter_map(set).collect(),
    ))
}

impl Parsed {
    /// How to connect: the configuration of the driver, and the connector that negotiates encryption and watches the authentication.
    pub(super) fn way(self) -> Result<(Config, Connector<MakeRustlsConnect>), DatabaseError> {
        let inner = self.connector()?;
        let mut config = self.config;
        let connector = Connector {
            inner,
            mode: config.get_ssl_mode(),
            is_direct: config.get_ssl_negotiation() == SslNegotiation::Direct,
            allowed: self.allowed.clone().unwrap_or_default(),
        };
        if config.get_hosts().is_empty() {
            // The driver asks for a name, if only to have one.
            let addresses: Vec<String> = (config.get_hostaddrs().iter())
                .map(ToString::to_string)
                .collect();
            for address in addresses {
                config.host(address);
            }
        }
        let is_socket = |host: &Host| matches!(host, Host::Unix(_));
        let sockets = config.get_hosts().iter().filter(|host| is_socket(host));
        match sockets.count() {
            0 => {
                config.ssl_mode(SslMode::Require);
                config.ssl_negotiation(SslNegotiation::Direct);
            }
            count if count < config.get_hosts().len() => return Err(DatabaseError::MixedHosts),
            _ if self.allowed.is_some() => return Err(DatabaseError::SocketAuth),
            _ => {}
        }
        Ok((config, connector))
    }

    fn connector(&self) -> Result<MakeRustlsConnect, DatabaseError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.trust {
            Trust::AnyServer => Arc::new(Unnamed {
                root: None,
                provider: Arc::clone(&provider),
            }),
            trust => {
                let roots = Arc::new(roots(self.root.as_deref())?);
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(|error| DatabaseError::Tls {
                            place: super::error::place(&self.config),
                            what: error.to_string(),
                        })?;
                if trust == Trust::Name {
                    verifier
                } else {
                    Arc::new(Unnamed {
                        root: Some(verifier),
                        provider: Arc::clone(&provider),
                    })
                }
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DatabaseError::Tls {
                place: super::error::place(&self.config),
                what: error.to_string(),
            })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

/// The roots in a file, or those of the system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, DatabaseError> {
    let mut roots = RootCertStore::empty();
    let certificates = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => {
            let unusable = |what: String| DatabaseError::RootCertificate {
                path: path.to_owned(),
                what,
            };
            let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
            CertificateDer::pem_reader_iter(BufReader::new(file))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| unusable("it is no PEM file".to_owned()))?
        }
    };
    roots.add_parsable_certificates(certificates);
    match file {
        Some(path) if roots.is_empty() => Err(DatabaseError::RootCertificate {
            path: path.to_owned(),
            what: "it holds no certificate".to_owned(),
        }),
        _ => Ok(roots),
    }
}

/// Accepts certificates in any name: those of a root that is trusted, or any at all. Signatures are checked always.
#[derive(Debug)]
struct Unnamed {
    root: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(root) = &self.root else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            root.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last: everything else was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tls_modes_are_read_in_both_forms_and_the_rest_is_kept() {
        let read = |text: &str| {
            let parsed = parse(text).unwrap();
            let user = parsed.config.get_user().map(str::to_owned);
            (
                parsed.config.get_ssl_mode(),
                parsed.trust,
                parsed.root,
                user,
            )
        };
        let me = || Some("me".to_owned());
        let file = || Some(PathBuf::from("/etc/root 1.crt"));
        let (prefer, require) = (SslMode::Prefer, SslMode::Require);
        for (url, pairs, expected) in [
            ("", "", (prefer, Trust::AnyServer, None, me())),
            (
                "?sslmode=require",
                "sslmode=require",
                (require, Trust::AnyServer, None, me()),
            ),
            (
                "?connect_timeout=3&sslmode=verify-full&sslrootcert=system",
                "sslmode=verify-full sslrootcert=system connect_timeout=3",
                (require, Trust::Name, None, me()),
            ),
        ] {
            assert_eq!(read(&format!("postgres://me@host/mirror{url}")), expected);
            let spaced = pairs.replace('=', " =\t").replace(' ', "\n ");
            for pairs in [pairs, &spaced] {
                assert_eq!(
                    read(&format!("host=host user=me dbname=mirror {pairs}")),
                    expected
                );
            }
        }
        assert_eq!(
            read("postgres://me@host/mirror?sslrootcert=%2Fetc%2Froot%201.crt&sslmode=verify-ca"),
            (require, Trust::Root, file(), me())
        );
        for pairs in [
            "host=x user=me sslrootcert = '/etc/root 1.crt' sslmode= verify-ca",
            r"host=x sslrootcert=/etc/root\ 1.crt sslmode='verify-c\a'user=me",
        ] {
            assert_eq!(read(pairs), (require, Trust::Root, file(), me()));
        }
        assert!(matches!(
            parse("host=x sslmode=sometimes"),
            Err(DatabaseError::SslMode)
        ));
    }

    #[test]
    fn the_roots_of_the_system_are_looked_at_if_they_are_named() {
        for (mode, expected) in [
            ("", Trust::Name),
            ("sslmode=require", Trust::Root),
            ("sslmode=verify-ca", Trust::Root),
            ("sslmode=verify-full", Trust::Name),
        ] {
            let parsed = parse(&format!("host=host sslrootcert=system {mode}")).unwrap();
            assert_eq!(parsed.config.get_ssl_mode(), SslMode::Require);
            assert_eq!((parsed.trust, parsed.root), (expected, None), "{mode}");
        }
    }

    #[test]
    fn what_is_no_connection_string_is_malformed() {
        for text in [
            "host",
            "host=x sslmode",
            "host=x password='open",
            "host=x password=two words",
            "postgres://me@host/mirror?sslmode",
        ] {
            assert!(matches!(parse(text), Err(DatabaseError::Url)), "{text}");
        }
    }

    #[test]
    fn a_host_is_named() {
        for text in [
            "postgres:///mirror",
            "postgres://me@/mirror",
            "dbname=mirror",
        ] {
            assert!(matches!(parse(text), Err(DatabaseError::NoHost)), "{text}");
        }
        for text in [
            "postgres:///mirror?host=/run/postgresql",
            "hostaddr=127.0.0.1",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_password_hides_the_mode_or_is_changed(password in "[^\0]{1,12}|[ '\\\\=?@/&#%+]{1,6}", blank in "[ \t\n]{0,3}") {
            let quoted = password.replace('\\', r"\\").replace('\'', r"\'");
            let escaped: String = password.chars().flat_map(|c| ['\\', c]).collect();
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            for text in [
                format!("host=host password{blank}={blank}'{quoted}' sslmode{blank}={blank}verify-full"),
                format!("{blank}sslmode{blank}={blank}'verify-full' password{blank}={blank}{escaped} host=host"),
                format!("postgres://me:{encoded}@host/mirror?sslmode=verify-full"),
                format!("postgres://host/mirror?password={encoded}&sslmode=verify-full"),
            ] {
                let parsed = parse(&text).unwrap();
                prop_assert_eq!(parsed.config.get_password(), Some(password.as_bytes()));
                prop_assert_eq!(parsed.config.get_ssl_mode(), SslMode::Require);
                prop_assert_eq!(parsed.trust, Trust::Name);
                let (config, variables) = for_libpq(&text).unwrap();
                prop_assert_eq!(config.get_password(), Some(password.as_bytes()));
                prop_assert_eq!(variables, [("PGSSLMODE", "verify-full".to_owned())]);
            }
            // Written as it is, it may be misunderstood, but not so that the mode is lost.
            let raw = password.replace(['%', '@'], "x");
            for text in [
                format!("postgres://me:{raw}@host/mirror?sslmode=verify-full"),
                format!("postgres://host/mirror?password={raw}@&sslmode=verify-full"),
            ] {
                if let Ok(parsed) = parse(&text) {
                    prop_assert_eq!(parsed.trust, Trust::Name, "{}", text);
                }
            }
        }
    }
}
